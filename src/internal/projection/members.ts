// Takes, keeps and gives back the partitions of a subscription for one process.
//
// A tick reports the process and reads who owns what. Then the process changes the number of partitions if another one was
// registered, gives a partition back if another process has too few, or takes a free one. Each partition that it owns has
// a fiber, which extends the lease itself. Costs one small transaction for each third of a lease.
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { liveClock } from "../liveClock.js"
import * as Signal from "../signal.js"
import * as Changing from "./changing.js"
import * as Failures from "./failures.js"
import type { Attendance, Lease } from "./model.js"
import { noteFailure } from "./noteFailure.js"
import * as Partition from "./partition.js"
import * as Shares from "./shares.js"
import { CheckpointStoreError, mismatch, SubscriptionMismatch } from "./storeErrors.js"
import * as Telemetry from "./telemetry.js"
import type { Worker } from "./worker.js"

/** A partition that this process owns. */
interface Owned {
  readonly fiber: Fiber.RuntimeFiber<void>
  /** Rings when the partition is given back. */
  readonly closing: Signal.Signal
}

/** A worker for all partitions. Each partition is closed on its own. */
type Work<E, R> = Omit<Worker<E, R>, "isClosing" | "closing">

interface Members<in out E, out R> {
  readonly worker: Work<E, R>
  readonly owned: Map<number, Owned>
  /** Rings when a partition ends. */
  readonly ended: Signal.Signal
  /** For how many ticks a partition has been left to a process that has fewer. */
  waited: number
  isClosing: boolean
  /** The change of the number of partitions that this process waits for. */
  change: Changing.Change | undefined
}

/** Works for a subscription until the scope closes. Then batches in progress may end, and leases are given back. */
export const run = <E, R>(
  worker: Work<E, R>,
  closeWithin: Duration.Duration
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const members: Members<E, R> = {
      worker,
      owned: new Map(),
      ended: Signal.make(),
      waited: 0,
      isClosing: false,
      change: undefined
    }
    const fiber = yield* Effect.forkDaemon(Effect.interruptible(attending(members)))
    yield* Effect.addFinalizer(() => close(members, fiber, closeWithin))
  }).pipe(Effect.uninterruptible)

/** Ends if the store will never let this process work for the subscription. */
const attending = <E, R>(members: Members<E, R>): Effect.Effect<void, never, R> => {
  const { ended } = members
  const once = Effect.suspend(() => {
    const rings = ended.count()
    return Effect.flatMap(tick(members), (wait) => ended.wait(rings, wait))
  })
  return Effect.iterate(true, {
    while: (goesOn) => goesOn,
    // a store that dies, or interrupts itself, is tried again too
    body: () => Effect.catchAllCause(Effect.as(once, true), (cause) => failed(members, cause))
  })
}

/** Shows a failure. After one that does not pass the partitions are given back, and nothing is tried any more. */
const failed = <E, R>({ owned, worker }: Members<E, R>, cause: Cause.Cause<unknown>): Effect.Effect<boolean> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    noteFailure(worker, "Passing", Failures.reasonOf(cause), now)
    if (!Option.exists(Cause.failureOption(cause), isFinal)) {
      return Effect.as(Effect.sleep(worker.options.ttl / 3), true)
    }
    owned.forEach((partition) => end(worker, partition))
    return Effect.as(Telemetry.endedHere(worker.key), false)
  })

/** What a process says of itself is never valid for the store, or the version was removed. */
const isFinal = (error: unknown): boolean =>
  (error instanceof CheckpointStoreError && error.reason === "InvalidInput") || error instanceof SubscriptionMismatch

/** Gives the milliseconds until the next tick. */
const tick = <E, R>(members: Members<E, R>) =>
  Effect.gen(function*() {
    const { checkpoints, key, meter, options: { ttl }, owner } = members.worker
    const attendance = yield* checkpoints.attend(key, { owner, ttl })
    // a later version of this number may have another definition: this process must not work for it
    if (attendance.partitions.length === 0) return yield* mismatch(key, "Unknown")
    meter.unowned(Shares.free(attendance).length)
    const stopped = attendance.partitions.filter(({ stopped }) => Option.isSome(stopped)).length
    meter.stopped(stopped)
    // a stopped partition cannot reach the others: a hold would stop these too, and not help
    const change = yield* changeNow(members, attendance, stopped)
    if (change !== undefined) {
      // the owners stop at the same position, and then the number can change
      yield* checkpoints.hold([key], ttl)
      if (yield* checkpoints.repartition(key)) return 0
    }
    const surplus = Shares.toGiveBack(attendance, owner)
    if (surplus !== undefined) giveBack(members, surplus)
    if (yield* takeOne(members, attendance)) return 0
    return change === undefined ? ttl / 3 : Changing.delay(change, ttl, yield* Random.next)
  })

/** The change of the number of partitions that this process works for now: it is needed, and a hold may help. */
const changeNow = <E, R>(
  members: Members<E, R>,
  attendance: Attendance,
  stopped: number
): Effect.Effect<Changing.Change | undefined> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const { options: { ttl }, owner } = members.worker
    const { partitions, wanted } = attendance
    if (partitions.length === wanted || stopped > 0) {
      members.change = undefined
      return undefined
    }
    // each process follows the tries, in case that the one that drives them ends
    const [isHolding, change] = Changing.look(members.change ?? Changing.begin(now, ttl), partitions, now)
    members.change = change
    return isHolding && Changing.isDriver(attendance, owner) ? change : undefined
  })

/** How many ticks a process leaves a free partition to others. */
const patience = 2

const giveBack = <E, R>({ owned, worker }: Members<E, R>, index: number): void => {
  const partition = owned.get(index)
  if (partition === undefined) return
  end(worker, partition)
}

/** Lets a partition end its batch, and wakes it. */
const end = <E, R>({ appended }: Work<E, R>, { closing }: Owned): void => {
  closing.ring()
  appended.ring()
}

const takeOne = <E, R>(members: Members<E, R>, attendance: Attendance) =>
  Effect.gen(function*() {
    const { owned, worker: { checkpoints, key, options: { ttl }, owner } } = members
    const candidates = Shares.toTake(attendance, owner, members.waited >= patience)
    members.waited = candidates.length === 0 && Shares.free(attendance).length > 0 ? members.waited + 1 : 0
    for (const index of candidates) {
      if (owned.has(index)) continue
      const of = attendance.partitions.length
      const taken = yield* Effect.uninterruptible(
        Effect.tap(checkpoints.acquire(key, { owner, ttl, index, of }), (lease) =>
          Option.isNone(lease) ? Effect.void : follow(members, lease.value))
      )
      if (Option.isSome(taken)) {
        return true
      }
    }
    return false
  })

/** Follows the feed for a partition in a fiber of its own, and gives the lease back at the end. */
const follow = <E, R>(members: Members<E, R>, lease: Lease): Effect.Effect<void, never, R> => {
  const { ended, owned, worker } = members
  const { checkpoints, meter, report } = worker
  const closing = Signal.make()
  const partition = {
    ...worker,
    isClosing: () => members.isClosing || closing.count() > 0,
    closing: Effect.suspend(() => members.isClosing ? Effect.void : closing.wait(0, Duration.infinity))
  }
  const given = Effect.exit(checkpoints.release(lease)).pipe(
    Effect.zipRight(Effect.sync(() => {
      owned.delete(lease.index)
      report.owned.delete(lease.index)
      report.reached.delete(lease.index)
      meter.owned(report.owned.size)
      ended.ring()
    }))
  )
  const following = Effect.ensuring(Partition.follow(partition, lease), given)
  return Effect.map(Effect.forkDaemon(Effect.interruptible(following)), (fiber) => {
    owned.set(lease.index, { fiber, closing })
    report.owned.add(lease.index)
    meter.owned(report.owned.size)
  })
}

const close = <E, R>(
  members: Members<E, R>,
  attending: Fiber.RuntimeFiber<void>,
  closeWithin: Duration.Duration
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { owned, worker } = members
    const { checkpoints, key, owner } = worker
    members.isClosing = true
    owned.forEach((partition) => end(worker, partition))
    yield* Fiber.interrupt(attending)
    const fibers = Array.from(owned.values(), ({ fiber }) => fiber)
    // a test that has stopped the clock must still be able to close
    yield* Fiber.awaitAll(fibers).pipe(
      Effect.interruptible,
      Effect.timeoutOption(closeWithin),
      Effect.withClock(liveClock)
    )
    yield* Fiber.interruptAll(fibers)
    yield* Effect.exit(checkpoints.leave(key, owner))
  })
