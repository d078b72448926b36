// Describes the subscriptions that are registered: where they are, who owns them, and how far they are behind.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { CheckpointStore } from "../../CheckpointStore.js"
import * as Event from "../../Event.js"
import { EventStore, type EventStoreError } from "../../EventStore.js"
import * as Local from "./local.js"
import type { Key, PartitionState, Registered } from "./model.js"
import type { CheckpointStoreError } from "./storeErrors.js"

/**
 * The state of a version of a projection or a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status extends Key {
  readonly kind: Registered["kind"]
  /** Whether this is the version that readers use. */
  readonly active: boolean
  /** The number of processes that work for it. */
  readonly members: number
  /** The number of parked events. */
  readonly parked: number
  readonly partitions: ReadonlyArray<PartitionStatus>
  /** What this process does for it. `None` if it does nothing. */
  readonly local: Option.Option<LocalStatus>
}

/**
 * The state of a partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionStatus extends PartitionState {
  readonly lag: Lag
}

/**
 * How far a checkpoint is behind the feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lag {
  /** The number of events of the feed after the checkpoint, counted up to 1,000. */
  readonly events: number
  /** Whether there are more events than that. */
  readonly isMore: boolean
  /** The milliseconds since the first of these events was appended, or 0. */
  readonly millis: number
}

/**
 * The work of this process for a version.
 *
 * @since 0.1.0
 * @category models
 */
export interface LocalStatus {
  /** The partitions that this process owns, by index. */
  readonly owned: ReadonlyArray<number>
  /** The number of events that this process handled. */
  readonly handled: number
  /** The number of events that it handled each second, over the last ten seconds. */
  readonly rate: number
  /** How often another process took a partition from this one. */
  readonly lost: number
  /** The last failure, with its time in milliseconds since 1970. It stays after a recovery. */
  readonly lastError: Option.Option<{ readonly reason: string; readonly time: number }>
}

export const status = (
  name: string | undefined
): Effect.Effect<
  ReadonlyArray<Status>,
  CheckpointStoreError | EventStoreError,
  CheckpointStore | EventStore
> =>
  Effect.gen(function*() {
    const checkpoints = yield* CheckpointStore
    const events = yield* EventStore
    const now = yield* Clock.currentTimeMillis
    const all = (yield* checkpoints.list).filter((one) => name === undefined || one.name === name)
    return yield* Effect.forEach(all, (one) =>
      Effect.map(
        Effect.forEach(
          one.partitions,
          (partition) => Effect.map(lagOf(events, partition, now), (lag): PartitionStatus => ({ ...partition, lag }))
        ),
        (partitions): Status => ({
          ...one,
          partitions,
          local: Option.map(Option.fromNullable(Local.reportOf(checkpoints.local, one)), (report) => ({
            owned: Array.from(report.owned).sort((a, b) => a - b),
            handled: report.handled,
            rate: Local.rateOf(report, now),
            lost: report.lost,
            lastError: Option.fromNullable(report.lastError)
          }))
        })
      ))
  })

const mostCounted = 1_000

const lagOf = (
  events: EventStore["Type"],
  { index, of, position }: PartitionState,
  now: number
): Effect.Effect<Lag, EventStoreError> =>
  Effect.map(events.readPage({ after: position, partition: { index, of }, limit: mostCounted }), (page) => {
    const first = page.events.find((recorded): recorded is Event.RecordedEvent => !Event.isUnreadable(recorded))
    return {
      events: page.events.length,
      isMore: !page.atEnd,
      millis: first === undefined ? 0 : Math.max(0, now - first.time.epochMillis)
    }
  })
