// Runs the operations of many fibers together on a database in this process, where a statement blocks the thread.
// Mechanism: while only one fiber arrives in a turn of the event loop, its operations run alone and at once. When
// another fiber arrives in the same turn, operations wait until all fibers that are ready have run, and are then sent
// in one group. After a group of one operation, operations run alone again.
// Cost: a microtask for the operations of one fiber; a fork and a round of the scheduler for each group.
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Scheduler } from "effect/Scheduler"
import * as Grouping from "./grouping.js"

export interface Options<in Item, out Answer, out E> extends Grouping.Options<Item, Answer, E> {
  /** Whether the operations of one fiber wait too. */
  readonly forced: boolean
}

export const make = <Item, Answer, E>(options: Options<Item, Answer, E>): Grouping.Grouping<Item, Answer, E> => {
  const rounds = new Rounds(options)
  return {
    run: (item, alone) =>
      Effect.withFiberRuntime((fiber) =>
        Grouping.isHeavy(options, item) || rounds.isAlone(fiber.id().id, fiber.currentScheduler)
          ? alone
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
  /** The scheduler of the fiber that sends the next group, while operations wait or a send is in progress. */
  private pending: Scheduler | undefined

  constructor(private readonly options: Options<Item, Answer, E>) {
    this.queue = new Grouping.Queue(options)
  }

  isAlone(fiber: number, scheduler: Scheduler): boolean {
    // a fiber does not wait for another scheduler, which may be slower, or not run before this one has ended
    if (this.pending !== undefined && this.pending !== scheduler) return true
    // requests that arrive one after the other have separate fibers, but not in the same turn
    if (this.last === undefined) queueMicrotask(this.forget)
    else this.shared ||= this.last !== fiber
    this.last = fiber
    return !this.shared && !this.options.forced
  }

  private readonly forget = (): void => {
    this.last = undefined
  }

  wait(item: Item, scheduler: Scheduler): Effect.Effect<Answer | undefined, E> {
    return this.queue.wait(item, () => {
      if (this.pending === undefined) this.send(scheduler)
    })
  }

  // a separate fiber sends the group. It has the scheduler of the first fiber, and nothing else of it
  private send(scheduler: Scheduler): void {
    this.pending = scheduler
    Effect.runFork(this.round, { scheduler, immediate: false }).addObserver((exit) => {
      if (this.queue.size > 0) return this.send(scheduler)
      this.pending = undefined
      if (Exit.isSuccess(exit)) this.shared = exit.value > 1
    })
  }

  // the other fibers that are ready run first, and may add operations
  private readonly round = Effect.zipRight(
    Effect.yieldNow({ priority: 1 }),
    Effect.suspend(() => this.queue.send())
  )
}
