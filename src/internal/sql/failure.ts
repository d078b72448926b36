import { SqlError } from "@effect/sql/SqlError"
import { sqlText } from "./failureText.js"

/**
 * What a failed statement means for the one who ran it.
 *
 * @internal
 */
export interface SqlFailure {
  /**
   * - `Busy`: another process holds the SQLite file.
   * - `Transient`: nothing was done, and the same statement may go through a moment later.
   * - `ConnectionLost`: no answer came to a statement that was on its way.
   * - `Cancelled`: the server ended the statement, asked to or because of a time limit.
   * - `Closed`: the program has closed its client.
   * - `Refused`: the statement, with these values and rights, would fail again: only a change of the database helps.
   */
  readonly kind:
    | "Busy"
    | "UniqueViolation"
    | "Transient"
    | "ConnectionLost"
    | "Cancelled"
    | "Closed"
    | "Refused"
    | "Other"
  /** The server may have carried the statement out although it was reported as failed. */
  readonly mayHaveHappened: boolean
  readonly detail: string
  /** The code of PostgreSQL. */
  readonly code?: string | undefined
  /** The name of the constraint or index that was violated, where the server says it. */
  readonly violated?: string | undefined
}

/**
 * What is refused here, before or after the database was asked.
 *
 * @internal
 */
export const refusal = (detail: string, mayHaveHappened = false, cause?: unknown): SqlError =>
  new SqlError({ cause: new Refusal(detail, mayHaveHappened, { cause }), message: detail })

class Refusal extends Error {
  constructor(detail: string, readonly mayHaveHappened: boolean, options: ErrorOptions) {
    super(detail, options)
  }
}

/** @internal */
export const classify = (error: SqlError): SqlFailure => {
  if (error.cause instanceof Refusal) {
    const { mayHaveHappened, message } = error.cause
    return { kind: "Other", mayHaveHappened, detail: message }
  }
  const { code, constraint, severity } = fieldsOf(error.cause)
  const text = sqlText(error.cause)
  if (code?.startsWith("SQLITE_") === true) return sqlite(code, text)
  // the drivers say it before anything is asked of a database
  if (text === "The database connection is not open" || text === "Cannot use a pool after calling end on the pool") {
    return { kind: "Closed", mayHaveHappened: false, detail: "the database was closed" }
  }
  // only an answer of the server has a severity
  if (code !== undefined && severity !== undefined) {
    return { ...postgres(code, text), code, violated: constraint }
  }
  if (error.message?.startsWith("Failed to acquire connection") !== true) {
    // a client that knows of the loss sends nothing any more
    const mayHaveHappened = !text.endsWith("and is not queryable")
    return { kind: "ConnectionLost", mayHaveHappened, detail: `${text}: the connection to the database was lost` }
  }
  // a pool that was waited for in vain was waited for long enough
  const kind = /timeout/i.test(text) ? "Other" : "Transient"
  return { kind, mayHaveHappened: false, detail: `${text}: there is no connection to the database` }
}

const sqlite = (code: string, text: string): SqlFailure => {
  switch (code) {
    case "SQLITE_BUSY":
    case "SQLITE_BUSY_RECOVERY":
    case "SQLITE_LOCKED":
      return { kind: "Busy", mayHaveHappened: false, detail: `${text}: another process holds the database` }
    case "SQLITE_CONSTRAINT_UNIQUE":
    case "SQLITE_CONSTRAINT_PRIMARYKEY":
      return { kind: "UniqueViolation", mayHaveHappened: false, detail: text }
    // the end of a commit: a crash that follows may leave it done
    case "SQLITE_IOERR_FSYNC":
    case "SQLITE_IOERR_DIR_FSYNC":
    case "SQLITE_IOERR_TRUNCATE":
    case "SQLITE_IOERR_DELETE":
      return { kind: "Other", mayHaveHappened: true, detail: text }
    default:
      return { kind: refusedBySqlite.test(code) ? "Refused" : "Other", mayHaveHappened: false, detail: text }
  }
}

const refusedBySqlite = /^SQLITE_(CONSTRAINT|TOOBIG|READONLY|MISMATCH|AUTH|PERM|ERROR$)/

// values, constraints, rights and names, limits of the program, read-only transactions, RAISE; but no lock and no resource
const refusedByPostgres = /^(0A|22|23|42|44|54|P0|25006)/

const postgres = (code: string, text: string): SqlFailure => {
  const detail = `${text} (${code})`
  switch (code) {
    case "23505":
      return { kind: "UniqueViolation", mayHaveHappened: false, detail }
    case "57014":
      return { kind: "Cancelled", mayHaveHappened: false, detail }
    case "40001": // serialization failure
    case "40P01": // deadlock
    case "53300": // too many connections
    case "57P03": // starting up, shutting down
      return { kind: "Transient", mayHaveHappened: false, detail }
    case "57P01": // ended by an administrator
    case "57P02": // ended by a crash of another backend
    case "57P05": // idle for too long
      return { kind: "ConnectionLost", mayHaveHappened: true, detail }
    default:
      return code.startsWith("08")
        ? { kind: "ConnectionLost", mayHaveHappened: true, detail }
        // an error of a statement has undone it
        : { kind: refusedByPostgres.test(code) ? "Refused" : "Other", mayHaveHappened: false, detail }
  }
}

type Field = "code" | "constraint" | "severity"

const fieldsOf = (cause: unknown): Readonly<Record<Field, string | undefined>> => {
  const field = (name: Field): string | undefined => {
    const value: unknown = typeof cause === "object" && cause !== null ? Reflect.get(cause, name) : undefined
    return typeof value === "string" ? value : undefined
  }
  return { code: field("code"), constraint: field("constraint"), severity: field("severity") }
}
