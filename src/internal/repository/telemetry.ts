import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import type * as Snapshot from "../../Snapshot.js"
import type * as StreamId from "../../StreamId.js"
import * as Counters from "../counters.js"
import { reason } from "../schema/reason.js"
import { annotate, isTraced } from "../tracing.js"
import type { Baseline } from "./baseline.js"

const isLogged = (fiber: Fiber.RuntimeFiber<unknown, unknown>, level: LogLevel.LogLevel): boolean =>
  LogLevel.lessThanEqual(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), level)

/** Logs a failed optimisation as a warning, with its reason. */
export const warn = (
  message: string,
  cause: unknown,
  annotations: Readonly<Record<string, unknown>>
): Effect.Effect<void> =>
  // the reason is text: each logger shows an error in its own way, and some show nothing of it
  notice(`${message}: ${reason(cause)}`, annotations)

/** Logs a warning that has no cause. */
export const notice = (message: string, annotations: Readonly<Record<string, unknown>>): Effect.Effect<void> =>
  contained(Effect.logWarning(message).pipe(Effect.annotateLogs(annotations)))

/** Reports the loads of an aggregate in metrics, spans and log lines. */
export interface Loads {
  readonly loaded: (baseline: Baseline<unknown>) => Effect.Effect<void>
  /** Reports why a snapshot was not used. A load that then fails has no result that could say so. */
  readonly refused: (failure: Snapshot.SnapshotFailure) => Effect.Effect<void>
}

export const loads = (aggregate: string): Loads => {
  const count = Counters.byOutcome(Counters.snapshotLoads, aggregate)
  return {
    loaded: ({ cached, outcome, replayed, snapshotVersion, stream }) =>
      Effect.withFiberRuntime((fiber) => {
        count(outcome._tag)
        if (!isTraced(fiber) && !isLogged(fiber, levelOf(outcome))) return Effect.void
        return Effect.zipRight(
          annotate(() => ({
            "eventsourcing.id": stream.id,
            "eventsourcing.snapshot": outcome._tag,
            "eventsourcing.snapshot_version": snapshotVersion,
            "eventsourcing.replayed": replayed
          })),
          log(outcome, stream, { replayed, snapshotVersion }, cached)
        )
      }),
    refused: (failure) =>
      Effect.suspend(() => {
        count(failure._tag)
        return Effect.zipRight(
          annotate(() => ({ "eventsourcing.snapshot": failure._tag })),
          log(failure, failure.stream, { replayed: 0, snapshotVersion: 0 }, false)
        )
      })
  }
}

const log = (
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

const levelOf = (outcome: Snapshot.SnapshotOutcome): LogLevel.LogLevel => {
  switch (outcome._tag) {
    case "Hit":
    case "Migrated":
    case "Drifted":
    case "None":
    case "Disabled":
    // every deployment with a new schema version brings these
    case "SchemaVersionMismatch":
    // as an erasure does
    case "SubjectErased":
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

// a logger that throws must not fail a load or a command
const contained = (log: Effect.Effect<void>): Effect.Effect<void> => Effect.catchAllCause(log, () => Effect.void)
