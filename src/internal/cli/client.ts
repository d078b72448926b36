// Opens the database of a URL.
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import * as Sqlite from "../../Sqlite.js"
import { describe } from "../sql/failure.js"
import { CliError } from "./errors.js"

export interface Target {
  readonly url: Redacted.Redacted
  /** Whether the command may change the database. */
  readonly isWriting: boolean
  /** The option that the URL is from. */
  readonly option?: string | undefined
}

/** A client. Its failures do not contain the URL, which may hold a password. */
export const layer = ({ isWriting, option = "--url", url }: Target): Layer.Layer<SqlClient.SqlClient, CliError> => {
  const text = Redacted.value(url)
  return /^postgres(ql)?:\/\//.test(text)
    ? postgres(url)
    : sqlite(text.replace(/^(sqlite|file):(\/\/)?/, ""), isWriting, option)
}

const postgres = (url: Redacted.Redacted): Layer.Layer<SqlClient.SqlClient, CliError> =>
  Layer.unwrapEffect(Effect.map(
    driver("@effect/sql-pg", () => import("@effect/sql-pg/PgClient")),
    (PgClient) =>
      PgClient.layer({ url, maxConnections: 3, connectTimeout: "10 seconds", applicationName: "effect-eventsourcing" })
        .pipe(Layer.mapError((error) => new CliError({ detail: `cannot connect to PostgreSQL: ${describe(error)}` })))
  ))

const sqlite = (
  filename: string,
  isWriting: boolean,
  option: string
): Layer.Layer<SqlClient.SqlClient, CliError> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    // the driver would create it
    if (!isFile(filename)) {
      return yield* new CliError({
        detail:
          `there is no database file at the ${option}: give the path of one, or postgres://user:password@host/database. ` +
          "The program creates a new database when it starts: the command line creates none"
      })
    }
    const SqliteClient = yield* driver("@effect/sql-sqlite-node", () => import("@effect/sql-sqlite-node/SqliteClient"))
    return Sqlite.layer(SqliteClient.layer, { filename, readonly: !isWriting }).pipe(
      Layer.mapError((error) => new CliError({ detail: error.message }))
    )
  }))

// a path that is too long, or in a folder without rights, throws an error that shows it
const isFile = (filename: string): boolean => {
  try {
    return fs.statSync(filename).isFile()
  } catch {
    return false
  }
}

const driver = <M>(name: string, load: () => Promise<M>): Effect.Effect<M, CliError> =>
  Effect.tryPromise({
    try: load,
    catch: (cause) => new CliError({ detail: `${name} cannot be loaded: npm install ${name} (${describe(cause)})` })
  })
