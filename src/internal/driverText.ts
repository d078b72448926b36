// Reads the errors of database drivers, without the values of rows and parameters.

/** A text field of an error, if it has one of this name. */
export const textField = (cause: unknown, name: string): string | undefined => {
  const value: unknown = typeof cause === "object" && cause !== null ? Reflect.get(cause, name) : undefined
  return typeof value === "string" ? value : undefined
}

/** The message of a driver's error without the values of rows and parameters. */
export const driverText = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  return withheld(cause) ?? cause.message
}

// functions and triggers may write values into messages, and the server quotes values that do not fit a type
const withheld = (cause: Error): string | undefined => {
  const code = textField(cause, "code")
  if (code === undefined) return undefined
  if (code === "SQLITE_CONSTRAINT_TRIGGER" || textField(cause, "routine") === "exec_stmt_raise") {
    return "a trigger or a function of the database refused it, with the text that is in the cause"
  }
  return /^(22|P0)[0-9A-Z]{3}$/.test(code) && "severity" in cause
    ? "the server refused a value, with the text that is in the cause"
    : undefined
}

/**
 * The text of a `SqlError`, or `undefined` if the error is another one. Its own message says only which step failed: the
 * driver's error, its cause, has the reason and the code.
 */
export const sqlErrorText = (error: unknown): string | undefined => {
  if (textField(error, "_tag") !== "SqlError") return undefined
  const cause: unknown = Reflect.get(Object(error), "cause")
  if (!(cause instanceof Error)) return undefined
  const step = textField(error, "message")?.trim() ?? ""
  const code = textField(cause, "code")
  const text = code === undefined ? driverText(cause) : `${driverText(cause)} (${code})`
  return step === "" || step === cause.message ? text : `${step}: ${text}`
}
