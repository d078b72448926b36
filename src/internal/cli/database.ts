// Opens the database of a URL with the stores on it. It never creates or changes a table.
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import type { CheckpointStore } from "../../CheckpointStore.js"
import type { EventStore } from "../../EventStore.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import * as Sqlite from "../../Sqlite.js"
import * as SqlStores from "../../SqlStores.js"
import { describe } from "../sql/failure.js"
import { CliError } from "./errors.js"

export type Services = EventStore | SnapshotStore | CheckpointStore | SqlClient.SqlClient

export interface Target {
  readonly url: Redacted.Redacted
  readonly prefix: string
  /** Whether the command may change the database. */
  readonly isWriting: boolean
}

/** The stores of the database. Every failure says what to do, and does not contain the URL, which may hold a password. */
export const layer = ({ isWriting, prefix, url }: Target): Layer.Layer<Services, CliError> =>
  SqlStores.layerWith({ prefix, migrate: false }).pipe(
    Layer.provideMerge(clientOf(url, isWriting)),
    // the message of each has the reason of its cause
    Layer.mapError((error) =>
      error instanceof CliError ? error : new CliError({ detail: `${error.message}${hintOf(error, prefix)}` })
    )
  )

const hintOf = (error: { readonly _tag: string; readonly message: string }, prefix: string): string =>
  error._tag === "MigrationError" && error.message.includes("missing")
    ? `. The command line creates no tables. It looked for those of --prefix ${prefix}: if the program has another ` +
      "prefix, give that one"
    : ""

const clientOf = (
  url: Redacted.Redacted,
  isWriting: boolean
): Layer.Layer<SqlClient.SqlClient, CliError> => {
  const text = Redacted.value(url)
  return /^postgres(ql)?:\/\//.test(text)
    ? postgres(url)
    : sqlite(text.replace(/^(sqlite|file):(\/\/)?/, ""), isWriting)
}

const postgres = (url: Redacted.Redacted): Layer.Layer<SqlClient.SqlClient, CliError> =>
  Layer.unwrapEffect(Effect.map(
    driver("@effect/sql-pg", () => import("@effect/sql-pg/PgClient")),
    (PgClient) =>
      PgClient.layer({ url, maxConnections: 3, connectTimeout: "10 seconds", applicationName: "effect-eventsourcing" })
        .pipe(Layer.mapError((error) => new CliError({ detail: `cannot connect to PostgreSQL: ${describe(error)}` })))
  ))

const sqlite = (filename: string, isWriting: boolean): Layer.Layer<SqlClient.SqlClient, CliError> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    // the driver would create it
    if (!fs.statSync(filename, { throwIfNoEntry: false })?.isFile()) {
      return yield* new CliError({
        detail: `there is no database file at the --url: give a path, or postgres://user:password@host/database`
      })
    }
    const SqliteClient = yield* driver("@effect/sql-sqlite-node", () => import("@effect/sql-sqlite-node/SqliteClient"))
    return Sqlite.layer(SqliteClient.layer, { filename, readonly: !isWriting }).pipe(
      Layer.mapError((error) => new CliError({ detail: error.message }))
    )
  }))

const driver = <M>(name: string, load: () => Promise<M>): Effect.Effect<M, CliError> =>
  Effect.tryPromise({
    try: load,
    catch: (cause) => new CliError({ detail: `${name} cannot be loaded: npm install ${name} (${describe(cause)})` })
  })
