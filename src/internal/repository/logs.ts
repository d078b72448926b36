import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import type * as Snapshot from "../../Snapshot.js"
import type * as StreamId from "../../StreamId.js"
import { reason } from "../schema/reason.js"

/**
 * Logs a failure of what is only an optimisation, with its reason. No other module logs.
 *
 * @internal
 */
export const warn = (
  message: string,
  cause: unknown,
  annotations: Readonly<Record<string, unknown>>
): Effect.Effect<void> =>
  // as text: each logger shows an error in its own way, and some show nothing of it
  contained(Effect.logWarning(`${message}: ${reason(cause)}`).pipe(Effect.annotateLogs(annotations)))

/**
 * Logs what a person should look at, and what says all in itself.
 *
 * @internal
 */
export const notice = (message: string, annotations: Readonly<Record<string, unknown>>): Effect.Effect<void> =>
  contained(Effect.logWarning(message).pipe(Effect.annotateLogs(annotations)))

/**
 * Routine at debug level, at warning level what somebody should look at.
 *
 * @internal
 */
export const levelOf = (outcome: Snapshot.SnapshotOutcome): LogLevel.LogLevel => {
  switch (outcome._tag) {
    case "Hit":
    case "Migrated":
    case "Drifted":
    case "None":
    case "Disabled":
    // what every deployment brings
    case "SchemaVersionMismatch":
      return LogLevel.Debug
    default:
      return LogLevel.Warning
  }
}

const messageOf = (outcome: Snapshot.SnapshotOutcome, cached: boolean): string => {
  if (cached) return "loaded by the cache"
  switch (outcome._tag) {
    case "Hit":
    case "Migrated":
    case "Drifted":
      return "loaded by snapshot"
    case "None":
    case "Disabled":
      return "loaded by full replay"
    default:
      return `the snapshot was not used, the stream was replayed: ${outcome.message}`
  }
}

/**
 * `cached`: the load went on from a state of the cache, and looked for no snapshot.
 *
 * @internal
 */
export const logLoad = (
  outcome: Snapshot.SnapshotOutcome,
  stream: StreamId.StreamId,
  numbers: { readonly replayed: number; readonly snapshotVersion: number },
  cached: boolean
): Effect.Effect<void> =>
  contained(
    Effect.logWithLevel(levelOf(outcome), messageOf(outcome, cached)).pipe(
      Effect.annotateLogs({ aggregate: stream.aggregate, id: stream.id, snapshot: outcome._tag, ...numbers })
    )
  )

// nothing fails because of a snapshot, whatever a logger makes of it
const contained = (log: Effect.Effect<void>): Effect.Effect<void> => Effect.catchAllCause(log, () => Effect.void)
