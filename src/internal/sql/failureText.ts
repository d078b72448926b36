import { SqlError } from "@effect/sql/SqlError"

/**
 * What a database says of a failure, without the values of rows and parameters.
 *
 * @internal
 */
export const sqlText = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  return withheld(cause) ?? cause.message
}

/**
 * The failure without the fields in which PostgreSQL shows rows and parameters (`detail`, `hint`, `where`,
 * `internalQuery`): "Key (event_id)=(...) already exists", "Failing row contains (...)". The payload of an event may hold
 * what its schema calls a secret, and here is no schema to tell which.
 *
 * @internal
 */
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

// an author of functions and triggers may write anything into these, and the server quotes values that do not fit a type
const withheld = (cause: Error): string | undefined => {
  const code: unknown = Reflect.get(cause, "code")
  if (typeof code !== "string") return undefined
  if (code === "SQLITE_CONSTRAINT_TRIGGER" || Reflect.get(cause, "routine") === "exec_stmt_raise") {
    return "a trigger or a function of the database refused it, with the text that is in the cause"
  }
  return /^(22|P0)[0-9A-Z]{3}$/.test(code) && "severity" in cause
    ? "the server refused a value, with the text that is in the cause"
    : undefined
}
