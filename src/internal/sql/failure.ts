import { SqlError } from "@effect/sql/SqlError"
import * as EventStore from "../../EventStore.js"
import { SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { driverText, textField } from "../driverText.js"

/** The meaning of a failed statement. */
export interface SqlFailure {
  /**
   * - `Busy`: another process holds the SQLite file.
   * - `Transient`: the statement changed nothing, and may succeed a moment later.
   * - `ConnectionLost`: the connection broke before the answer.
   * - `Cancelled`: the server ended the statement, on request or because of a time limit.
   * - `Closed`: the program has closed its client.
   * - `Refused`: the statement would fail again with these values and rights, until the database is changed.
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
  /** The server may have carried out the statement although it failed. */
  readonly mayHaveHappened: boolean
  readonly detail: string
  /** The SQLSTATE of PostgreSQL. */
  readonly code?: string | undefined
  /** The violated constraint or index, if the server names it. */
  readonly violated?: string | undefined
}

/** The error of a statement that the library itself refuses, before or after it ran. */
export const refusal = (detail: string, mayHaveHappened = false, cause?: unknown): SqlError =>
  new SqlError({ cause: new Refusal(detail, mayHaveHappened, { cause }), message: detail })

class Refusal extends Error {
  constructor(detail: string, readonly mayHaveHappened: boolean, options: ErrorOptions) {
    super(detail, options)
  }
}

/** Whether the library itself refused the statement. */
export const isRefusal = ({ cause }: SqlError): boolean => cause instanceof Refusal

export const classify = (error: SqlError): SqlFailure => {
  if (error.cause instanceof Refusal) {
    const { mayHaveHappened, message } = error.cause
    return { kind: "Other", mayHaveHappened, detail: message }
  }
  const code = textField(error.cause, "code")
  const text = driverText(error.cause)
  if (code?.startsWith("SQLITE_") === true) return sqlite(code, text)
  // the drivers say this before they send a statement
  if (text === "The database connection is not open" || text === "Cannot use a pool after calling end on the pool") {
    return { kind: "Closed", mayHaveHappened: false, detail: "the database was closed" }
  }
  // only an error of the server has a severity
  if (code !== undefined && textField(error.cause, "severity") !== undefined) {
    return { ...postgres(code, text), code, violated: textField(error.cause, "constraint") }
  }
  if (!hasNoConnection(error)) {
    // a client that knows of the lost connection sends nothing
    const mayHaveHappened = !text.endsWith("and is not queryable")
    return { kind: "ConnectionLost", mayHaveHappened, detail: `${text}: the connection to the database was lost` }
  }
  // a pool that was waited for in vain was waited for long enough
  const kind = /timeout/i.test(text) ? "Other" : "Transient"
  return { kind, mayHaveHappened: false, detail: `${text}: there is no connection to the database` }
}

/** The statement waited for a lock for as long as it may. */
export const isLockTimeout = (error: SqlError): boolean => classify(error).code === "55P03"

const hasNoConnection = ({ message }: SqlError): boolean => message?.startsWith("Failed to acquire connection") === true

/** Nothing was sent: there is no connection, the database is closed, or another process holds it. */
export const isUnreachable = (error: SqlError): boolean => {
  const { kind, mayHaveHappened } = classify(error)
  return kind === "Busy" || kind === "Closed" || hasNoConnection(error) ||
    (error.cause instanceof Refusal && !mayHaveHappened)
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
    // the end of a commit, which may be on the disk
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

// values, constraints, rights, names, program limits, read-only transactions and RAISE; but not locks and resources
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
        // a statement that fails is undone
        : { kind: refusedByPostgres.test(code) ? "Refused" : "Other", mayHaveHappened: false, detail }
  }
}

/** The code of the database in an error of a store: the SQLSTATE of PostgreSQL, or the name that SQLite gives. */
export const codeOf = (error: unknown): string | undefined => {
  const statement = error instanceof EventStore.EventStoreError || error instanceof SnapshotStoreError
    ? error.cause
    : undefined
  const cause = statement instanceof SqlError ? statement.cause : undefined
  const code = textField(cause, "code")
  const isOfDatabase = code?.startsWith("SQLITE_") === true || textField(cause, "severity") !== undefined
  return isOfDatabase ? code : undefined
}

/** Removes the fields in which PostgreSQL shows rows and parameters: a payload may have secrets. */
export const withoutRows = (error: SqlError): SqlError => {
  const { cause } = error
  if (!(cause instanceof Error) || !shown.some((field) => field in cause)) return error
  const kept = new Error(cause.message)
  kept.name = cause.name
  if (cause.stack !== undefined) kept.stack = cause.stack
  const fields = Object.entries(cause).filter(([name]) => !shown.includes(name))
  return new SqlError({
    cause: Object.assign(kept, Object.fromEntries(fields)),
    message: error.message ?? kept.message
  })
}

const shown = ["detail", "hint", "where", "internalQuery"]

/** The error of an event store for a failed statement. */
export const eventStoreError =
  (operation: EventStore.EventStoreError["operation"], stream?: StreamId.StreamId, mayHaveAppended = false) =>
  (error: SqlError): EventStore.EventStoreError =>
    new EventStore.EventStoreError({
      operation,
      ...(stream === undefined ? {} : { stream }),
      reason: "Unavailable",
      mayHaveAppended,
      detail: classify(error).detail,
      cause: withoutRows(error)
    })

/** The messages of an error and of its causes. */
export const describe = (error: unknown): string => {
  const messages: Array<string> = []
  let current: unknown = error
  while (current instanceof Error && messages.length < 5) {
    messages.push(current.message)
    current = current.cause
  }
  return messages.length === 0 ? String(error) : messages.join(": ")
}
