// Follows the feed for one partition of a subscription, for as long as this process has its lease.
//
//   1. Read a page after the checkpoint, and decode it. No transaction is open meanwhile.
//   2. Hand it on in batches: handle a batch and advance the checkpoint.
//   3. At the end of the feed wait for an append, or look again after a while.
//
// A batch that fails is halved, until the event that fails is alone. A failure that passes by itself repeats without end.
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import * as Position from "../../Position.js"
import { elapsedMillis } from "../elapsed.js"
import { linksTo } from "../traceContext.js"
import { inSpan, isTraced } from "../tracing.js"
import { advance } from "./advancing.js"
import { batches } from "./batches.js"
import type { Item } from "./definition.js"
import * as Failures from "./failures.js"
import * as Inline from "./inline.js"
import * as Local from "./local.js"
import type { Lease } from "./model.js"
import { backOffMillis, noteFailure } from "./noteFailure.js"
import { renewing } from "./renewing.js"
import * as Resting from "./resting.js"
import * as Telemetry from "./telemetry.js"
import { type Batch, type Delivered, unlessClosing, type Worker } from "./worker.js"

/** Ends when the lease is lost or the partition is stopped, or when the layer is closed. */
export const follow = <E, R>(worker: Worker<E, R>, lease: Lease): Effect.Effect<void, never, R> =>
  Effect.flatMap(elapsedMillis, (renewed) => {
    const run: Run<E, R> = {
      worker,
      lease,
      size: worker.options.pageSize,
      resting: Resting.make(renewed),
      hold: undefined,
      ahead: undefined,
      renewed
    }
    return Effect.iterate(true, {
      while: (goesOn) => goesOn && !worker.isClosing(),
      body: () =>
        Effect.catchAllCause(turn(run), (cause) => {
          // a store that dies, or interrupts itself, is away too
          const failure = Option.getOrElse(
            Cause.failureOption(cause),
            (): Ended => ({ _tag: "Passing", reason: Failures.reasonOf(cause) })
          )
          return failure._tag === "Ended" ? Effect.succeed(false) : Effect.as(backOff(run, failure.reason), true)
        })
    })
  })

interface Run<in out E, out R> {
  readonly worker: Worker<E, R>
  lease: Lease
  /** The number of events in a batch, by how long the last ones took. */
  size: number
  readonly resting: Resting.Resting
  /** The position that the partition must not pass for now. */
  hold: Position.Position | undefined
  /** The next page, if it is being read already. */
  ahead: Ahead | undefined
  /** When the lease was extended, in elapsed milliseconds. */
  renewed: number
}

interface Ahead {
  readonly after: Position.Position
  readonly fiber: Fiber.Fiber<EventStore.Page, EventStore.EventStoreError>
}

/** Why a turn ended early: the partition has another owner or is stopped, or a failure that passes. */
type Ended = { readonly _tag: "Ended" } | { readonly _tag: "Passing"; readonly reason: string }

const ended: Ended = { _tag: "Ended" }

/** Reads and handles one page. */
const turn = <E, R>(run: Run<E, R>): Effect.Effect<boolean, Ended, R> =>
  Effect.gen(function*() {
    const { worker } = run
    if (yield* Resting.isQuiet(worker, run.resting, run.lease.position)) return yield* rest(run, "Look")
    run.resting.rings = worker.appended.count()
    const page = yield* nextPage(run)
    if (!page.atEnd && run.hold === undefined) yield* readAhead(run, page.settled)
    const { atEnd, batches: found } = held(run, page)
    yield* measureLag(run, page)
    for (const batch of found) {
      yield* Either.match(batch, {
        onLeft: ({ item, to }) => unreadable(run, item, to),
        onRight: (batch) => handle(run, batch)
      })
      if (worker.isClosing() || run.hold !== undefined) return true
    }
    return atEnd ? yield* rest(run, found.length > 0 ? "Events" : "Nothing") : true
  })

const pageAfter = <E, R>({ lease: { index, of }, worker }: Run<E, R>, after: Position.Position) =>
  worker.events.readPage({
    after,
    aggregates: worker.reading.aggregates,
    excludedTypes: worker.reading.excludedTypes,
    limit: worker.options.pageSize,
    ...(of === 1 ? {} : { partition: { index, of } })
  })

/** Begins to read the next page while the batches of this one are handled. */
const readAhead = <E, R>(run: Run<E, R>, after: Position.Position): Effect.Effect<void> =>
  Effect.map(Effect.fork(pageAfter(run, after)), (fiber) => {
    run.ahead = { after, fiber }
  })

/** The page after the checkpoint, which may have been read ahead. */
const nextPage = <E, R>(run: Run<E, R>): Effect.Effect<EventStore.Page, Ended> => {
  const { ahead, lease: { position }, worker: { lookout } } = run
  run.ahead = undefined
  const fresh = Effect.flatMap(elapsedMillis, (now) => {
    run.resting.looked = now
    return explained(run, lookout.look(now, pageAfter(run, position)))
  })
  if (ahead === undefined) return fresh
  return ahead.after === position
    ? explained(run, Fiber.join(ahead.fiber))
    : Effect.zipRight(Fiber.interrupt(ahead.fiber), fresh)
}

const explained = <E, R>(
  run: Run<E, R>,
  page: Effect.Effect<EventStore.Page, EventStore.EventStoreError>
): Effect.Effect<EventStore.Page, Ended> =>
  Effect.catchAllCause(page, (cause) => {
    const reason = Failures.reasonOf(cause)
    // the checkpoint is ahead of the store: it is of another database, or of events that a restore lost
    const isForeign = Option.exists(Cause.failureOption(cause), (error) => error.reason === "InvalidInput")
    return isForeign
      ? stop(run, Option.none(), `${reason}. ${wayBack}`)
      : Effect.fail<Ended>({ _tag: "Passing", reason })
  })

const wayBack = "To handle the feed of this store from its beginning, remove the version with Projections.remove"

/** Shows how old the first event of a page is. */
const measureLag = <E, R>({ lease, worker }: Run<E, R>, { events }: EventStore.Page): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const first = events.find((recorded): recorded is Event.RecordedEvent => !Event.isUnreadable(recorded))
    worker.meter.lag(lease.index, first === undefined ? 0 : Math.max(0, now - first.time.epochMillis))
  })

/** The batches of a page, up to the position that the partition must not pass. */
const held = <E, R>(run: Run<E, R>, page: EventStore.Page) => {
  const { hold, size, worker } = run
  run.hold = undefined
  const isBeyond = hold !== undefined && Position.Order(page.settled, hold) > 0
  const events = isBeyond ? page.events.filter(({ position }) => Position.Order(position, hold) <= 0) : page.events
  const settled = isBeyond ? hold : page.settled
  const items: Array<Item<E>> = []
  for (const recorded of events) {
    const item = worker.reading.item(recorded)
    if (Option.isSome(item)) items.push(item.value)
  }
  const isMoved = settled !== run.lease.position
  return {
    atEnd: page.atEnd || (isBeyond && !isMoved),
    batches: isMoved ? batches(items, size, settled) : []
  }
}

/** Handles a batch, however often it takes. */
const handle = <E, R>(run: Run<E, R>, batch: Batch<E>): Effect.Effect<void, Ended, R> =>
  Effect.flatMap(attempt(run, batch), (failure) => {
    if (failure === undefined) return Effect.void
    if (failure._tag !== "Poison") return settle(run, failure)
    const half = batch.items.length >> 1
    if (half === 0) return again(run, batch, failure.reason)
    const first = batch.items.slice(0, half)
    return renewInTime(run).pipe(
      Effect.zipRight(handle(run, { items: first, to: first[half - 1].position })),
      Effect.zipRight(
        Effect.suspend(() =>
          run.hold === undefined && !run.worker.isClosing()
            ? handle(run, { ...batch, items: batch.items.slice(half) })
            : Effect.void
        )
      )
    )
  })

/**
 * Tries an event that failed alone again, by the schedule of the options. Then it is poison. The lease is kept meanwhile:
 * if other processes took it during the delays, each of them would begin the schedule again.
 */
const again = <E, R>(run: Run<E, R>, batch: Batch<E>, reason: string): Effect.Effect<void, Ended, R> =>
  Effect.gen(function*() {
    const driver = yield* Schedule.driver(run.worker.options.retry)
    const [item] = batch.items
    let last = reason
    while (true) {
      // a failed attempt has not extended the lease
      yield* renewInTime(run)
      const next = unlessClosing(run.worker, Effect.exit(driver.next(last)))
      const exit = yield* Effect.raceFirst(next, renewing(run.worker, run.lease)).pipe(
        Effect.catchAll(() => settle(run, { _tag: "Lost" }))
      )
      if (Option.isNone(exit)) return yield* Effect.fail(ended)
      if (Exit.isFailure(exit.value)) return yield* poison(run, item, batch.to, last)
      const failure = yield* attempt(run, batch)
      if (failure === undefined) return
      if (failure._tag !== "Poison") return yield* settle(run, failure)
      last = failure.reason
    }
  })

/** Delivers a batch, in a span that is linked to the commands whose events it has. */
const traced = <E, R>({ lease, worker }: Run<E, R>, batch: Batch<E>): Effect.Effect<Delivered, unknown, R> =>
  Effect.withFiberRuntime((fiber) => {
    const delivered = worker.deliver(worker, lease, batch)
    return !isTraced(fiber) || batch.items.length === 0 ? delivered : inSpan(delivered, "Projection.handle", {
      root: true,
      links: linksTo(batch.items, mostLinks),
      attributes: {
        "eventsourcing.projection": lease.name,
        "eventsourcing.projection_version": lease.version,
        "eventsourcing.partition": lease.index,
        "eventsourcing.events": batch.items.length
      }
    })
  })

const mostLinks = 64

type Failure = Failures.Failed | Extract<Delivered, { readonly _tag: "Stopped" }>

/** Delivers a batch once, and notes the new checkpoint. Gives the failure if there is one. */
const attempt = <E, R>(run: Run<E, R>, batch: Batch<E>): Effect.Effect<Failure | undefined, never, R> =>
  Effect.flatMap(
    elapsedMillis,
    (start) =>
      Effect.matchCauseEffect(traced(run, batch), {
        onFailure: (cause): Effect.Effect<Failures.Failed> => {
          const { isPassing, personal } = run.worker.options
          const failure = blamed(batch, Failures.classify(cause, isPassing, personal))
          // a failure that passes is noted when the turn ends with it
          if (failure._tag !== "Poison") return Effect.succeed(failure)
          return Effect.map(Clock.currentTimeMillis, (now) => {
            noteFailure(run.worker, "Poison", failure.reason, now)
            return failure
          })
        },
        onSuccess: (delivered) =>
          Effect.zipWith(elapsedMillis, Clock.currentTimeMillis, (end, now) => {
            note(run, delivered, batch, { start, end, now })
            return delivered._tag === "Stopped" ? delivered : undefined
          })
      })
  )

/** The failure of a batch. Without events the store refused the checkpoint, and no event is to blame. */
const blamed = ({ items }: Batch<unknown>, failure: Failures.Failed): Failures.Failed =>
  failure._tag === "Poison" && items.length === 0 ? { ...failure, _tag: "Passing" } : failure

/** When a batch began and ended in elapsed milliseconds, and the time of day at its end. */
interface Times {
  readonly start: number
  readonly end: number
  readonly now: number
}

const note = <E, R>(run: Run<E, R>, delivered: Delivered, { items }: Batch<E>, { end, now, start }: Times): void => {
  const { local, meter, options, report } = run.worker
  if (delivered._tag === "Held") {
    run.hold = delivered.hold
    return
  }
  // small batches would not make the wait for a lock shorter
  const millis = end - (delivered._tag === "Advanced" ? delivered.begun ?? start : start)
  run.lease = delivered.lease
  Local.reach(report, delivered.lease, delivered._tag === "Advanced" ? delivered.active : undefined)
  run.renewed = end
  run.resting.idle = 0
  // a long transaction holds the feed of all readers back
  if (millis > longBatch) run.size = Math.max(1, Math.min(run.size, items.length) >> 1)
  else if (millis < shortBatch) run.size = Math.min(options.pageSize, run.size * 2)
  Local.count(report, items.length, now)
  meter.handled(items.length)
  local.advanced.ring()
}

const longBatch = 1_000

const shortBatch = 250

/** Reads where the checkpoint is after a commit whose outcome is unknown. Other failures end the turn. */
const settle = <E, R>(
  run: Run<E, R>,
  failure: Exclude<Failure, { readonly _tag: "Poison" }>
): Effect.Effect<never, Ended> => {
  if (failure._tag === "Stopped") return stop(run, Option.some(failure.position), failure.reason)
  if (failure._tag === "Lost") {
    run.worker.report.lost += 1
    run.worker.meter.lost()
    return Effect.fail(ended)
  }
  const { checkpoints, options } = run.worker
  const passing = Effect.fail<Ended>({ _tag: "Passing", reason: failure.reason })
  if (failure._tag === "Passing") return passing
  return Effect.matchEffect(checkpoints.renew(run.lease, options.ttl), {
    onFailure: (error) => error._tag === "LeaseLost" ? Effect.fail(ended) : passing,
    onSuccess: (lease) => {
      run.lease = lease
      return passing
    }
  })
}

const unreadable = <E, R>(
  run: Run<E, R>,
  item: Item<E>,
  to: Position.Position
): Effect.Effect<void, Ended, R> =>
  Effect.flatMap(
    // a process of newer code may have handled the event inline
    Effect.catchAll(Inline.without(run.worker, [item]), (error) => settle(run, asFailed(error))),
    (left) =>
      left.length === 0
        ? handle(run, { items: [], to })
        : poison(run, item, to, Either.match(item.event, { onLeft: ({ message }) => message, onRight: () => "" }))
  )

/** Stops at an event that cannot be handled, or parks it. */
const poison = <E, R>(
  run: Run<E, R>,
  item: Item<E>,
  to: Position.Position,
  reason: string
): Effect.Effect<void, Ended> => {
  const { checkpoints, key, meter, options } = run.worker
  if (options.poison === "stop") return stop(run, Option.some(item.position), reason)
  return Effect.gen(function*() {
    const time = Math.trunc(yield* Clock.currentTimeMillis)
    const start = yield* elapsedMillis
    const advanced = yield* advance(
      run.worker,
      run.lease,
      { to, handled: 0, ttl: options.ttl, streams: [item.stream] },
      (parked) =>
        checkpoints.park(key, [{
          position: item.position,
          eventId: item.id,
          stream: item.stream,
          reason,
          kind: options.poison === "parkStream" && parked.size > 0 ? "Following" : "Poison",
          time
        }])
    )
    if (advanced._tag === "Advanced") meter.parked(1)
    note(run, advanced, { items: [], to }, { start, end: yield* elapsedMillis, now: time })
  }).pipe(Effect.catchAll((error) => settle(run, asFailed(error))))
}

const asFailed = (error: { readonly message: string }): Exclude<Failures.Failed, { readonly _tag: "Poison" }> => {
  const failure = Failures.classify(Cause.fail(error), () => true)
  // what parks an event writes texts that every store can keep: a refusal may pass after a repair
  return failure._tag === "Poison" ? { _tag: "Passing", reason: failure.reason } : failure
}

const stop = <E, R>(
  run: Run<E, R>,
  position: Option.Option<Position.Position>,
  reason: string
): Effect.Effect<never, Ended> =>
  Effect.gen(function*() {
    const { checkpoints, local, report } = run.worker
    const time = Math.trunc(yield* Clock.currentTimeMillis)
    yield* checkpoints.stop(run.lease, { position, reason, time })
    report.reached.delete(run.lease.index)
    local.advanced.ring()
    yield* Telemetry.stopped(run.lease, Option.getOrElse(position, () => run.lease.position))
  }).pipe(
    Effect.catchAll((error) => settle(run, asFailed(error))),
    Effect.zipRight(Effect.fail(ended))
  )

/** Waits at the end of the feed. */
const rest = <E, R>(run: Run<E, R>, after: Parameters<typeof Resting.wait>[2]): Effect.Effect<true, Ended> =>
  Resting.wait(run.worker, run.resting, after).pipe(Effect.zipRight(renewInTime(run)), Effect.as(true))

/** Extends the lease of a partition for which nothing came for a third of it. */
const renewInTime = <E, R>(run: Run<E, R>): Effect.Effect<void, Ended> =>
  Effect.flatMap(elapsedMillis, (now) => {
    const { checkpoints, options } = run.worker
    if (now - run.renewed < options.ttl / 3) return Effect.void
    return Effect.matchEffect(checkpoints.renew(run.lease, options.ttl), {
      onFailure: (error) => settle(run, asFailed(error)),
      onSuccess: (lease) =>
        Effect.sync(() => {
          run.lease = lease
          run.renewed = now
        })
    })
  })

const backOff = <E, R>(run: Run<E, R>, reason: string): Effect.Effect<void> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    noteFailure(run.worker, "Passing", reason, now)
    run.resting.idle += 1
    yield* unlessClosing(run.worker, Effect.sleep(backOffMillis(run.resting.idle)))
  })
