// Delivers the events of a subscription: its handler runs outside of any transaction, and the checkpoint follows.
// Events of a stream are handled in their order. Streams are handled side by side. The checkpoint advances to the lowest
// event that is not finished, never past it. The lease is extended while handlers run; if it is lost, they are
// interrupted.
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Position from "../../Position.js"
import { linked } from "../traceContext.js"
import { advance } from "./advancing.js"
import type { Item } from "./definition.js"
import * as Failures from "./failures.js"
import { followingOf, streamsToCheck } from "./following.js"
import { within } from "./handlerTimeout.js"
import type { Lease, ParkedEvent } from "./model.js"
import { backOffMillis, noteFailure } from "./noteFailure.js"
import { renewing } from "./renewing.js"
import { type Batch, type Deliver, type Delivered, type Site, unlessClosing } from "./worker.js"

export const make = <E, Err, R>(options: {
  readonly handle: (event: E) => Effect.Effect<unknown, Err, R>
  /** The number of streams that are handled at the same time. */
  readonly concurrency: number
}): Deliver<E, R> =>
(site, lease, { items, to }) =>
  Effect.gen(function*() {
    if (items.length === 0) return yield* finish(site, lease, { items, to, outcomes: new Map() })
    const checked = yield* check(site, lease, { items, to })
    if (checked._tag !== "Checked") return checked
    const outcomes: Outcomes<E> = new Map()
    const byStream = Object.values(Arr.groupBy(items, ({ stream }) => stream))
    const handled = Effect.forEach(
      byStream,
      (events) => handleStream(site, options.handle, events, checked.parked, outcomes),
      { concurrency: options.concurrency, discard: true }
    )
    yield* Effect.raceFirst(handled, renewing(site, lease))
    return yield* finish(site, lease, { items, to, outcomes })
  })

/**
 * Checks before anything is sent that the lease is not lost, and that the checkpoint may advance past the batch: it
 * advances it, and takes that back.
 */
const check = <E>(site: Site, lease: Lease, { items, to }: Batch<E>) =>
  advance(
    site,
    lease,
    { to, handled: 0, ttl: site.options.ttl, streams: streamsToCheck(site.options, items) },
    (parked): Effect.Effect<never, Checked> => Effect.fail({ _tag: "Checked", parked })
  ).pipe(Effect.catchTag("Checked", Effect.succeed))

interface Checked {
  readonly _tag: "Checked"
  /** The streams from which events are parked. */
  readonly parked: ReadonlySet<string>
}

/** What became of the events. One that is missing was not handled. */
type Outcomes<E> = Map<Item<E>, { readonly _tag: "Done" | "Following" } | Poison>

type Poison = { readonly _tag: "Poison"; readonly reason: string }

const handleStream = <E, Err, R>(
  site: Site,
  handle: (event: E) => Effect.Effect<unknown, Err, R>,
  items: ReadonlyArray<Item<E>>,
  parked: ReadonlySet<string>,
  outcomes: Outcomes<E>
): Effect.Effect<void, never, R> =>
  Effect.gen(function*() {
    const { poison } = site.options
    let isParked = parked.has(items[0].stream)
    for (const item of items) {
      if (isParked) {
        outcomes.set(item, { _tag: "Following" })
        continue
      }
      if (site.isClosing()) return
      const outcome = yield* handleOne(site, handle, item)
      if (outcome === undefined) return
      outcomes.set(item, outcome)
      if (outcome._tag === "Done") continue
      if (poison === "stop") return
      isParked = poison === "parkStream"
    }
  })

/**
 * Handles an event, and repeats it: without end after a failure that passes, else by the schedule of the options. Gives
 * `undefined` if the layer is closed before it is tried again.
 */
const handleOne = <E, Err, R>(
  site: Site,
  handle: (event: E) => Effect.Effect<unknown, Err, R>,
  item: Item<E>
): Effect.Effect<{ readonly _tag: "Done" } | Poison | undefined, never, R> =>
  Effect.gen(function*() {
    const { isPassing, personal, retry, timeout } = site.options
    const { event } = item
    if (Either.isLeft(event)) return { _tag: "Poison", reason: event.left.message }
    const driver = yield* Schedule.driver(retry)
    let passing = 0
    while (true) {
      const exit = yield* Effect.exit(linked(within(Effect.suspend(() => handle(event.right)), timeout), item))
      if (Exit.isSuccess(exit)) return { _tag: "Done" }
      const failure = Failures.classify(exit.cause, isPassing, personal)
      const reason = Failures.reasonOf(exit.cause, personal)
      noteFailure(site, failure._tag === "Passing" ? "Passing" : "Poison", reason, yield* Clock.currentTimeMillis)
      if (failure._tag === "Passing") {
        passing += 1
        yield* unlessClosing(site, Effect.sleep(backOffMillis(passing)))
      } else {
        const next = yield* unlessClosing(site, Effect.exit(driver.next(reason)))
        if (Option.exists(next, Exit.isFailure)) return { _tag: "Poison", reason }
      }
      if (site.isClosing()) return undefined
    }
  })

const finish = <E>(
  site: Site,
  lease: Lease,
  { items, outcomes, to }: {
    readonly items: ReadonlyArray<Item<E>>
    readonly to: Position.Position
    readonly outcomes: Outcomes<E>
  }
): Effect.Effect<Delivered, unknown> =>
  Effect.gen(function*() {
    const { checkpoints, key, meter, options } = site
    const time = Math.trunc(yield* Clock.currentTimeMillis)
    const isFinished = (item: Item<E>) => {
      const outcome = outcomes.get(item)
      return outcome !== undefined && (options.poison !== "stop" || outcome._tag === "Done")
    }
    const unfinished = items.findIndex((item) => !isFinished(item))
    const finished = unfinished < 0 ? items : items.slice(0, unfinished)
    const end = unfinished < 0 ? to : finished.at(-1)?.position ?? lease.position
    const parked = finished.flatMap((item) => parkedOf(item, outcomes.get(item), time))
    const advanced = yield* advance(
      site,
      lease,
      { to: end, handled: finished.length, ttl: options.ttl, streams: [] },
      () => parked.length === 0 ? Effect.void : checkpoints.park(key, parked)
    )
    if (advanced._tag === "Held") return advanced
    if (parked.length > 0) meter.parked(parked.length)
    const outcome = unfinished < 0 ? undefined : outcomes.get(items[unfinished])
    return outcome?._tag === "Poison"
      ? { _tag: "Stopped", lease: advanced.lease, position: items[unfinished].position, reason: outcome.reason }
      : advanced
  })

const parkedOf = <E>(
  item: Item<E>,
  outcome: ReturnType<Outcomes<E>["get"]>,
  time: number
): ReadonlyArray<ParkedEvent> => {
  if (outcome?._tag === "Following") return [followingOf(item, time)]
  if (outcome?._tag !== "Poison") return []
  return [{ ...followingOf(item, time), reason: outcome.reason, kind: "Poison" }]
}
