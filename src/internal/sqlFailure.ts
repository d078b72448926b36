import type { SqlError } from "@effect/sql/SqlError"

/**
 * What a failed statement means for the one who ran it.
 *
 * @internal
 */
export interface SqlFailure {
  readonly kind: "Busy" | "UniqueViolation" | "Retryable" | "Other"
  /** The server may have carried the statement out although it was reported as failed. */
  readonly mayHaveHappened: boolean
  readonly detail: string
}

/** @internal */
export const classify = (error: SqlError): SqlFailure => {
  const code = codeOf(error.cause)
  const text = messageOf(error.cause)
  const detail = (kind: SqlFailure["kind"]) => kind === "Busy" ? `${text}: another process holds the database` : text
  const failure = (kind: SqlFailure["kind"], mayHaveHappened: boolean): SqlFailure => ({
    kind,
    mayHaveHappened,
    detail: detail(kind)
  })
  if (code === undefined) {
    // no answer came from a server: the statement was on its way, unless there was no connection to send it on
    return failure("Other", error.message?.startsWith("Failed to acquire connection") !== true)
  }
  if (code.startsWith("SQLITE_")) {
    if (code === "SQLITE_BUSY" || code === "SQLITE_BUSY_RECOVERY" || code === "SQLITE_LOCKED") {
      return failure("Busy", false)
    }
    if (code === "SQLITE_CONSTRAINT_UNIQUE" || code === "SQLITE_CONSTRAINT_PRIMARYKEY") {
      return failure("UniqueViolation", false)
    }
    return failure("Other", false)
  }
  return failure("Other", true)
}

const codeOf = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : undefined

const messageOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)
