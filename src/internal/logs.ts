import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import type * as Snapshot from "../Snapshot.js"
import type * as StreamId from "../StreamId.js"
import { brief } from "./text.js"

/**
 * Tells what went wrong with what is only an optimisation.
 *
 * @internal
 */
export const warn = (
  message: string,
  cause: unknown,
  annotations: Readonly<Record<string, string>>
): Effect.Effect<void> =>
  contained(
    Effect.logWarning(message, cause instanceof Error ? brief(cause) : cause).pipe(Effect.annotateLogs(annotations))
  )

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

const messageOf = (outcome: Snapshot.SnapshotOutcome): string => {
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

/** @internal */
export const logLoad = (
  outcome: Snapshot.SnapshotOutcome,
  stream: StreamId.StreamId,
  numbers: { readonly replayed: number; readonly snapshotVersion: number }
): Effect.Effect<void> =>
  contained(
    Effect.logWithLevel(levelOf(outcome), messageOf(outcome)).pipe(
      Effect.annotateLogs({ aggregate: stream.aggregate, id: stream.id, snapshot: outcome._tag, ...numbers })
    )
  )

// nothing fails because of a snapshot, whatever a logger makes of it
const contained = (log: Effect.Effect<void>): Effect.Effect<void> => Effect.catchAllCause(log, () => Effect.void)
