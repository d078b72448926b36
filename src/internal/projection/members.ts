// Takes, keeps and gives back the partitions of a subscription for one process.
//
// A tick reports the process and reads who owns what. Then the process changes the number of partitions if another one was
// registered, gives a partition back if another process has too few, or takes a free one. Each partition that it owns has
// a fiber, which extends the lease itself. Costs one small transaction for each third of a lease.
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { liveClock } from "../liveClock.js"
import * as Signal from "../signal.js"
import * as Failures from "./failures.js"
import type { Attendance, Lease } from "./model.js"
import * as Partition from "./partition.js"
import * as Shares from "./shares.js"
import type { Worker } from "./worker.js"

/** A partition that this process owns. */
interface Owned {
  readonly fiber: Fiber.RuntimeFiber<void>
  isClosing: boolean
}

/** A worker for all partitions. Each partition has its own `isClosing`. */
type Work<E, R> = Omit<Worker<E, R>, "isClosing">

interface Members<in out E, out R> {
  readonly worker: Work<E, R>
  readonly owned: Map<number, Owned>
  /** Rings when a partition ends. */
  readonly ended: Signal.Signal
  /** For how many ticks a partition has been left to a process that has fewer. */
  waited: number
  isClosing: boolean
}

/** Works for a subscription until the scope closes. Then batches in progress may end, and leases are given back. */
export const run = <E, R>(
  worker: Work<E, R>,
  closeWithin: Duration.Duration
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const members: Members<E, R> = { worker, owned: new Map(), ended: Signal.make(), waited: 0, isClosing: false }
    const fiber = yield* Effect.forkDaemon(Effect.interruptible(attending(members)))
    yield* Effect.addFinalizer(() => close(members, fiber, closeWithin))
  }).pipe(Effect.uninterruptible)

const attending = <E, R>(members: Members<E, R>): Effect.Effect<never, never, R> => {
  const { ended, worker } = members
  const once = Effect.suspend(() => {
    const rings = ended.count()
    return Effect.flatMap(tick(members), (wait) => ended.wait(rings, wait))
  })
  // a store that dies, or interrupts itself, is tried again too
  return Effect.forever(Effect.catchAllCause(once, (cause) =>
    Effect.clockWith((clock) => {
      worker.report.lastError = { reason: Failures.reasonOf(cause), time: clock.unsafeCurrentTimeMillis() }
      return Effect.sleep(worker.options.ttl / 3)
    })))
}

/** Gives the milliseconds until the next tick. */
const tick = <E, R>(members: Members<E, R>) =>
  Effect.gen(function*() {
    const { checkpoints, key, meter, options: { ttl }, owner } = members.worker
    const attendance = yield* checkpoints.attend(key, { owner, ttl })
    meter.unowned(Shares.free(attendance).length)
    const stopped = attendance.partitions.filter(({ stopped }) => Option.isSome(stopped)).length
    meter.stopped(stopped)
    // a stopped partition cannot reach the others: a hold would stop these too, and not help
    const isChanging = attendance.partitions.length !== attendance.wanted && stopped === 0
    if (isChanging) {
      // the owners stop at the same position, and then the number can change
      yield* checkpoints.hold([key], ttl)
      if (yield* checkpoints.repartition(key)) return 0
    }
    const surplus = Shares.toGiveBack(attendance, owner)
    if (surplus !== undefined) giveBack(members, surplus)
    if (yield* takeOne(members, attendance)) return 0
    return isChanging ? repartitionMillis : ttl / 3
  })

const repartitionMillis = 20

/** How many ticks a process leaves a free partition to others. */
const patience = 2

const giveBack = <E, R>({ owned, worker }: Members<E, R>, index: number): void => {
  const partition = owned.get(index)
  if (partition === undefined) return
  partition.isClosing = true
  worker.appended.ring()
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
  const isClosing = () => members.isClosing || owned.get(lease.index)?.isClosing === true
  const given = Effect.exit(checkpoints.release(lease)).pipe(
    Effect.zipRight(Effect.sync(() => {
      owned.delete(lease.index)
      report.owned.delete(lease.index)
      meter.owned(report.owned.size)
      ended.ring()
    }))
  )
  const following = Effect.ensuring(Partition.follow({ ...worker, isClosing }, lease), given)
  return Effect.map(Effect.forkDaemon(Effect.interruptible(following)), (fiber) => {
    owned.set(lease.index, { fiber, isClosing: false })
    report.owned.add(lease.index)
    meter.owned(report.owned.size)
  })
}

const close = <E, R>(
  members: Members<E, R>,
  attending: Fiber.RuntimeFiber<never>,
  closeWithin: Duration.Duration
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { owned, worker: { appended, checkpoints, key, owner } } = members
    members.isClosing = true
    yield* Fiber.interrupt(attending)
    appended.ring()
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
