import type { SqlError } from "@effect/sql/SqlError"

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
   */
  readonly kind: "Busy" | "UniqueViolation" | "Transient" | "ConnectionLost" | "Other"
  /** The server may have carried the statement out although it was reported as failed. */
  readonly mayHaveHappened: boolean
  readonly detail: string
}

/** @internal */
export const classify = (error: SqlError): SqlFailure => {
  const code = codeOf(error.cause)
  const text = messageOf(error.cause)
  if (code?.startsWith("SQLITE_") === true) return sqlite(code, text)
  if (code !== undefined && sqlState.test(code)) return postgres(code, text)
  // no answer came from a server: the statement was on its way, unless there was no connection to send it on
  return error.message?.startsWith("Failed to acquire connection") === true
    ? { kind: "Transient", mayHaveHappened: false, detail: `${text}: there is no connection to the database` }
    : { kind: "ConnectionLost", mayHaveHappened: true, detail: `${text}: the connection to the database was lost` }
}

// the codes of the operating system look alike, but begin with E
const sqlState = /^[0-9FHPX][0-9A-Z]{4}$/

const sqlite = (code: string, text: string): SqlFailure => {
  switch (code) {
    case "SQLITE_BUSY":
    case "SQLITE_BUSY_RECOVERY":
    case "SQLITE_LOCKED":
      return { kind: "Busy", mayHaveHappened: false, detail: `${text}: another process holds the database` }
    case "SQLITE_CONSTRAINT_UNIQUE":
    case "SQLITE_CONSTRAINT_PRIMARYKEY":
      return { kind: "UniqueViolation", mayHaveHappened: false, detail: text }
    default:
      return { kind: "Other", mayHaveHappened: false, detail: text }
  }
}

const postgres = (code: string, text: string): SqlFailure => {
  const detail = `${text} (${code})`
  switch (code) {
    case "23505":
      return { kind: "UniqueViolation", mayHaveHappened: false, detail }
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
        : { kind: "Other", mayHaveHappened: false, detail }
  }
}

const codeOf = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : undefined

const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
