// Tells failures that pass by themselves from those of an event.
//
// An outage that is taken for a poison event would stop or park what is sound. A failure of a statement passes unless the
// database refused its values. The failure of a handler is that of its event, unless it was caused by one that passes.
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import { sqlErrorText } from "../driverText.js"
import { EventStoreError, VersionConflict } from "../store/eventErrors.js"
import { storable } from "../text.js"
import { HandlerTimeout } from "./handlerTimeout.js"
import { maxReason } from "./limits.js"
import { CheckpointStoreError, LeaseLost } from "./storeErrors.js"

/** Why a batch was not handled. */
export type Failed =
  | { readonly _tag: "Lost" }
  | { readonly _tag: "Passing"; readonly reason: string }
  | { readonly _tag: "Poison"; readonly reason: string }
  /** The batch may have been committed. */
  | { readonly _tag: "Unknown"; readonly reason: string }

/**
 * Classifies a failure. A handler of events with `personal` data may put the data into the messages of its errors, and a
 * reason is stored.
 */
export const classify = (
  cause: Cause.Cause<unknown>,
  isPassing: (error: unknown) => boolean,
  personal = false
): Failed => {
  const reason = reasonOf(cause, personal)
  const isFailure = Option.isSome(Cause.failureOption(cause))
  // a program that does not expect the failures of its database makes defects of them
  const error = Cause.squash(cause)
  if (isFailure && is(error, LeaseLost)) return { _tag: "Lost" }
  if (isFailure && is(error, CheckpointStoreError) && error.mayHaveHappened) return { _tag: "Unknown", reason }
  return { _tag: passesFor(isPassing, error) || hasPassing(error) ? "Passing" : "Poison", reason }
}

/** Like `instanceof`, for errors of which each access may throw. */
const is = <A>(error: unknown, type: abstract new(...args: never) => A): error is A => {
  try {
    return error instanceof type
  } catch {
    return false
  }
}

const passesFor = (isPassing: (error: unknown) => boolean, error: unknown): boolean => {
  try {
    return isPassing(error) === true
  } catch {
    return false
  }
}

/** Whether an error, or the cause of it, passes by itself. */
export const hasPassing = (error: unknown): boolean => {
  let current = error
  // of a store that is away, unless a cause says more
  let otherwise = false
  // a cause may be its own cause
  for (let depth = 0; depth < 10 && typeof current === "object" && current !== null; depth++) {
    const verdict = passes(current)
    if (verdict !== undefined) return verdict
    otherwise ||= field(current, "_tag") === "EventStoreError"
    current = field(current, "cause")
  }
  return otherwise
}

const passes = (error: object): boolean | undefined => {
  const code = field(error, "code")
  if (typeof code === "string") {
    if (code.startsWith("SQLITE_")) return passingSqlite.test(code)
    if (field(error, "severity") !== undefined) return !refusedByPostgres.test(code)
    // of the network: the server was not reached
    if (network.test(code)) return true
  }
  const reason = field(error, "reason")
  switch (field(error, "_tag")) {
    case "SnapshotStoreError":
    case "CheckpointStoreError":
      return reason === "Unavailable"
    case "EventStoreError":
      // a statement that the database refused is "Unavailable" too, and has its code in the cause
      return reason === "Unavailable" ? undefined : false
    case "VersionConflict":
      // a reactor lost races with other writers; a command with an expected version is not tried twice, and stays wrong
      return Number(field(error, "attempts")) > 1
    case "SqlError": {
      const cause = field(error, "cause")
      // a driver without a code: there was no connection, or it was lost
      return typeof cause === "object" && cause !== null && field(cause, "code") !== undefined ? undefined : true
    }
    default:
      return undefined
  }
}

const passingSqlite = /^SQLITE_(BUSY|LOCKED|IOERR|FULL|NOMEM|INTERRUPT|PROTOCOL|CANTOPEN)/

// values, constraints, names, rights, raised by a function, and statements after a failure that the handler caught
const refusedByPostgres = /^(0A|21|22|23|25P02|42|44|54|P0)/

const network = /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)/

const field = (value: object, name: string): unknown => {
  try {
    return Reflect.get(value, name)
  } catch {
    return undefined
  }
}

/** Errors of the library, and of statements, have messages without the values of events. */
const isWithoutValues = (error: unknown): boolean =>
  sqlErrorText(error) !== undefined ||
  is(error, EventStoreError) || is(error, CheckpointStoreError) || is(error, HandlerTimeout) || is(error, LeaseLost) ||
  is(error, VersionConflict)

/** Names an error of a handler without its message. */
const hidden = (error: unknown): string => {
  const name = field(Object(error), "_tag") ?? (error instanceof Error ? error.name : typeof error)
  return `${String(name)}, whose message is left out: the events have personal data`
}

/** The failure of a handler as the cause of an error, whose message is shown. */
export const causeOf = (cause: Cause.Cause<unknown>, personal: boolean): unknown => {
  if (Cause.isInterruptedOnly(cause)) return new Error(reasonOf(cause))
  const error = Cause.squash(cause)
  return personal && !isWithoutValues(error) ? new Error(hidden(error), { cause: error }) : error
}

/** The reason of a failure as text that every store can keep. */
export const reasonOf = (cause: Cause.Cause<unknown>, personal = false): string =>
  Cause.isInterruptedOnly(cause) ? "the handler interrupted itself" : describe(Cause.squash(cause), personal)

const describe = (error: unknown, personal: boolean): string => {
  const shown = (() => {
    try {
      if (personal && !isWithoutValues(error)) return hidden(error)
      if (!(error instanceof Error)) return String(field(Object(error), "_tag") ?? error)
      const name = field(error, "_tag") ?? error.name
      const text = sqlErrorText(error) ?? error.message
      return text === "" ? String(name) : `${String(name)}: ${text}`
    } catch {
      return "an error that cannot be shown"
    }
  })()
  return storable(shown.slice(0, maxReason))
}
