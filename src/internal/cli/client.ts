// Opens the database of a URL.
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import * as Sqlite from "../../Sqlite.js"
import { describe } from "../sql/failure.js"
import { CliError } from "./errors.js"

/** The URL of a database, and the option or the variable that has it. */
export interface Url {
  readonly url: Redacted.Redacted
  readonly from: string
}

export interface Target {
  readonly url: Url
  /** Whether the command may change the database. */
  readonly isWriting: boolean
}

/** A client. Its failures do not contain a URL, which may hold a password, but the path of a file. */
export const layer = ({ isWriting, url: { from, url } }: Target): Layer.Layer<SqlClient.SqlClient, CliError> => {
  const text = Redacted.value(url)
  return /^postgres(ql)?:\/\//.test(text)
    ? postgres(url)
    : sqlite(text.replace(/^(sqlite|file):(\/\/)?/, ""), isWriting, from)
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
  from: string
): Layer.Layer<SqlClient.SqlClient, CliError> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    // the driver would create it
    const problem = problemOf(filename, from)
    if (problem !== undefined) return yield* new CliError({ detail: problem })
    const SqliteClient = yield* driver("@effect/sql-sqlite-node", () => import("@effect/sql-sqlite-node/SqliteClient"))
    return Sqlite.layer(SqliteClient.layer, { filename, readonly: !isWriting }).pipe(
      Layer.mapError((error) => new CliError({ detail: error.message }))
    )
  }))

/** Why there is no SQLite database. */
const problemOf = (filename: string, from: string): string | undefined => {
  if (filename === "") return `${from} is empty: ${advice}`
  const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(filename) ?? []
  if (scheme !== undefined) return `${from} is a URL of ${scheme}, which cannot be opened: ${advice}`
  switch (kindOf(filename)) {
    case "file":
      return undefined
    case "folder":
      return `${from} is the folder${shown(filename)}, and not a database file: ${advice}`
    case "none":
      return `there is no database file${shown(filename)} at ${from}: ${advice}. ` +
        "The program creates a new database when it starts: the command line creates none"
  }
}

const advice = "give the path of a SQLite file, or postgres://user:password@host/database"

/** The path, unless it looks like an address that was mistyped, which may hold a password. */
const shown = (filename: string): string => /[@=]/.test(filename) ? "" : ` ${short(filename)}`

const short = (filename: string): string => filename.length > 200 ? `${filename.slice(0, 200)}...` : filename

// a path that is too long, or in a folder without rights, throws an error that shows it
const kindOf = (filename: string): "file" | "folder" | "none" => {
  try {
    const found = fs.statSync(filename)
    return found.isFile() ? "file" : found.isDirectory() ? "folder" : "none"
  } catch {
    return "none"
  }
}

const driver = <M>(name: string, load: () => Promise<M>): Effect.Effect<M, CliError> =>
  Effect.tryPromise({
    try: load,
    catch: (cause) => new CliError({ detail: `${name} cannot be loaded: npm install ${name} (${describe(cause)})` })
  })
