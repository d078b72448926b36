// Runs the operations of many fibers together on a database in this process, where a statement blocks the thread.
// Mechanism: while only one fiber arrives in a turn of the event loop, its operations run alone and at once. When
// another fiber arrives in the same turn, operations wait until all fibers that are ready have run, and are then sent
// in one group. After a group of one operation, operations run alone again. If the last operations took so long that the
// thread has kept the sockets waiting, operations also wait for those that come with the sockets that are ready.
// Cost: a microtask for the operations of one fiber; a fork and a round of the scheduler for each group. After a slow
// operation, a turn of the event loop.
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { defaultScheduler, type Scheduler, SyncScheduler } from "effect/Scheduler"
import type * as EventLoop from "./eventLoop.js"
import * as Grouping from "./grouping.js"

export interface Options<in Item, out Answer, out E> extends Grouping.Options<Item, Answer, E> {
  /** Whether the operations of one fiber wait too. */
  readonly forced: boolean
  readonly eventLoop: EventLoop.EventLoop["Type"]
}

export const make = <Item, Answer, E>(options: Options<Item, Answer, E>): Grouping.Grouping<Item, Answer, E> => {
  const rounds = new Rounds(options)
  return {
    run: (item, alone) =>
      Effect.withFiberRuntime((fiber) =>
        Grouping.isHeavy(options, item) || rounds.isAlone(fiber.id().id, fiber.currentScheduler)
          ? rounds.measured(alone)
          : Grouping.orAlone(rounds.wait(item, fiber.currentScheduler), alone)
      )
  }
}

class Rounds<Item, Answer, E> {
  private readonly queue: Grouping.Queue<Item, Answer, E>
  /** The fiber that arrived last in this turn of the event loop. */
  private last: number | undefined
  /** Whether several fibers arrived in one turn since the last group of one. */
  private shared = false
  /** Whether the last operations took long. */
  private slow = false
  /** How many groups in a row waited for the sockets, and no other operation came. */
  private inVain = 0
  /** How many operations do not wait for the sockets any more. */
  private exempt = 0
  /** The scheduler of the fiber that sends the next group, while operations wait or a send is in progress. */
  private pending: Scheduler | undefined

  constructor(private readonly options: Options<Item, Answer, E>) {
    this.queue = new Grouping.Queue(options)
  }

  isAlone(fiber: number, scheduler: Scheduler): boolean {
    // a fiber does not wait for another scheduler, which may be slower, or not run before this one has ended
    if (this.pending !== undefined) return this.pending !== scheduler
    // requests that arrive one after the other have separate fibers, but not in the same turn
    if (this.last === undefined) queueMicrotask(this.forget)
    else this.shared ||= this.last !== fiber
    this.last = fiber
    return !this.shared && !this.options.forced && !this.waitsForSockets(scheduler)
  }

  private readonly forget = (): void => {
    this.last = undefined
  }

  // fibers that arrive in one turn may keep the event loop busy for long
  private waitsForSockets(scheduler: Scheduler): boolean {
    return this.slow && !this.shared && this.exempt === 0 && canWait(scheduler)
  }

  /** Notes how long an operation takes that runs alone. */
  measured(alone: Effect.Effect<Answer, E>): Effect.Effect<Answer, E> {
    return Effect.suspend(() => {
      const begun = this.options.eventLoop.now()
      if (this.exempt > 0) this.exempt--
      return Effect.map(alone, (answer) => {
        this.note(begun, 1)
        return answer
      })
    })
  }

  private note(begun: number, operations: number): void {
    this.slow = this.options.eventLoop.now() - begun > slowMillis + operations * usualMillis
  }

  wait(item: Item, scheduler: Scheduler): Effect.Effect<Answer | undefined, E> {
    return this.queue.wait(item, () => {
      if (this.pending === undefined) this.send(scheduler)
    })
  }

  private send(scheduler: Scheduler): void {
    this.pending = scheduler
    if (!this.waitsForSockets(scheduler)) return this.fork(scheduler, this.share)
    this.options.eventLoop.afterSockets(() => this.fork(scheduler, this.judge))
  }

  // a separate fiber sends the group. It has the scheduler of the first fiber, and nothing else of it
  private fork(scheduler: Scheduler, done: (operations: number) => void): void {
    Effect.runFork(this.round, { scheduler, immediate: false }).addObserver((exit) => {
      if (this.queue.size > 0) return this.fork(scheduler, done)
      this.pending = undefined
      if (Exit.isSuccess(exit)) done(exit.value)
    })
  }

  private readonly share = (operations: number): void => {
    this.shared = operations > 1
  }

  // a single writer hardly waits: after three times only one of 8 operations does, and later one of 256
  private readonly judge = (operations: number): void => {
    this.inVain = operations > 1 ? 0 : this.inVain + 1
    this.exempt = this.inVain < 3 ? 0 : 2 ** Math.min(this.inVain, 8)
  }

  // the other fibers that are ready run first, and may add operations
  private readonly round = Effect.zipRight(
    Effect.yieldNow({ priority: 1 }),
    Effect.suspend(() => {
      const begun = this.options.eventLoop.now()
      return Effect.map(this.queue.send(), (operations) => {
        this.note(begun, operations)
        return operations
      })
    })
  )
}

// a commit that syncs takes some hundred microseconds, or milliseconds. A turn of the event loop takes some ten microseconds
const slowMillis = 0.1
const usualMillis = 0.05

// another scheduler may not run any more in the next turn of the event loop, as that of `Effect.runSync`. The fibers of a
// `ManagedRuntime` have one that has become the default scheduler
const canWait = (scheduler: Scheduler): boolean =>
  scheduler === defaultScheduler || (scheduler instanceof SyncScheduler && scheduler.deferred)
