// Describes the subscriptions that are registered: where they are, who owns them, and how far they are behind.
// Costs the list of the checkpoints, the head of the feed, and one count for each checkpoint that is not at the head.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { CheckpointStore } from "../../CheckpointStore.js"
import { EventStore, type EventStoreError } from "../../EventStore.js"
import * as Position from "../../Position.js"
import * as Counters from "../counters.js"
import * as Local from "./local.js"
import * as Looking from "./looking.js"
import type { Registered } from "./model.js"
import * as Progress from "./progress.js"
import { Lag, LocalStatus, PartitionStatus, Status } from "./statusModel.js"
import type { CheckpointStoreError } from "./storeErrors.js"

export const status = (
  name: string | undefined
): Effect.Effect<
  ReadonlyArray<Status>,
  CheckpointStoreError | EventStoreError,
  CheckpointStore | EventStore
> =>
  Effect.gen(function*() {
    const { list, local } = yield* CheckpointStore
    const events = yield* EventStore
    const now = yield* Clock.currentTimeMillis
    const all = (yield* list).filter((one) => name === undefined || one.name === name)
    if (all.length === 0) return []
    const head = yield* events.head
    // most checkpoints stand at the same position
    const lags = new Map<Position.Position, Lag>()
    for (const { position } of all.flatMap(({ partitions }) => partitions)) {
      if (!lags.has(position)) lags.set(position, yield* lagOf(events, position, head, now))
    }
    return all.map((one) => describe(local, one, lags, head, now))
  })

const describe = (
  local: Local.Local,
  one: Registered,
  lags: ReadonlyMap<Position.Position, Lag>,
  head: Position.Position,
  now: number
): Status => {
  const position = Looking.lowest(one)
  const { events, isMore } = lags.get(position) ?? none
  const remaining = isMore ? Math.max(events, Progress.distance(position, head)) : events
  const progress = Local.observe(local, one, { time: now, position, remaining })
  const meter = Counters.projections(one.name, one.version)
  meter.remaining(remaining)
  meter.rate(Option.getOrElse(progress.rate, () => 0))
  return new Status({
    ...one,
    partitions: one.partitions.map((partition) =>
      new PartitionStatus({ ...partition, lag: lags.get(partition.position) ?? none }, unchecked)
    ),
    progress,
    local: Option.map(Option.fromNullable(Local.reportOf(local, one)), (report) =>
      new LocalStatus({
        owned: Array.from(report.owned).sort((a, b) => a - b),
        handled: report.handled,
        rate: Local.rateOf(report, now),
        lost: report.lost,
        lastError: Option.fromNullable(report.lastError)
      }, unchecked))
  }, unchecked)
}

/** A store of the user's may give anything: a status shows it. */
const unchecked = { disableValidation: true }

const none = new Lag({ events: 0, isMore: false, millis: 0 })

const mostCounted = 10_000

const lagOf = (
  events: EventStore["Type"],
  position: Position.Position,
  head: Position.Position,
  now: number
): Effect.Effect<Lag, EventStoreError> =>
  Position.Order(position, head) >= 0
    ? Effect.succeed(none)
    : Effect.map(events.countAfter(position, { limit: mostCounted }), ({ events, first }) =>
      new Lag({
        events,
        isMore: events >= mostCounted,
        millis: Option.match(first, { onNone: () => 0, onSome: ({ epochMillis }) => Math.max(0, now - epochMillis) })
      }, unchecked))
