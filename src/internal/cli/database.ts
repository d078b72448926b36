// Provides the stores of a database. It never creates or changes a table.
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlStores from "../../SqlStores.js"
import * as Diagnosis from "../sql/diagnosis.js"
import * as Client from "./client.js"
import { CliError } from "./errors.js"
import * as Keys from "./keys.js"
import * as Output from "./output.js"
import type { Services } from "./services.js"

export interface Target extends Client.Target {
  readonly prefix: string
  /** Where the keys of personal data are. Without it, personal data stays sealed. */
  readonly keys?: Keys.Given | undefined
}

/** The stores of the database. Every failure says what to do. */
export const layer = ({ isWriting, keys, prefix, url }: Target): Layer.Layer<Services, CliError> =>
  SqlStores.layerWith({ prefix, migrate: false }).pipe(
    Layer.provide(keys === undefined ? Layer.empty : Keys.sealing(keys)),
    // after the stores have found their tables
    Layer.tap(() => checkVersion(prefix, isWriting)),
    Layer.provideMerge(Client.layer({ url, isWriting })),
    // the message of each has the reason of its cause
    Layer.mapError((error) => error instanceof CliError ? error : new CliError({ detail: detailOf(error, prefix) }))
  )

/** A program of this version can use newer tables. A command line that does not know what they are for changes none. */
const checkVersion = (prefix: string, isWriting: boolean) =>
  Effect.flatMap(Diagnosis.newerBy({ prefix }), (count) => {
    if (count === 0) return Effect.void
    const detail = `the tables are of a newer version, which made ${count} changes that this command line does not know`
    return isWriting
      ? new CliError({ detail: `${detail}: use the command line of the program's version` })
      : Output.hint(`Note: ${detail}.`)
  })

/** A migration is for the program. */
const detailOf = (error: { readonly _tag: string; readonly message: string }, prefix: string): string =>
  error._tag === "MigrationError" && error.message.includes("missing")
    ? `${error.message.replace(/, and migrate is false:.*$/, "")}. The command line creates no tables: start the ` +
      "program once, or run SqlMigrations.run. It looked for those of " +
      `--prefix ${prefix}: if the program has another prefix, give that one`
    : error.message
