// Runs the operations of many fibers together on a database in this process, where a statement blocks the thread.
// Mechanism: while only one fiber arrives in a turn of the event loop, its operations run alone and at once. When
// another fiber arrives in the same turn, operations wait until all fibers that are ready have run, and are then sent
// in one group. After a group of one operation, operations run alone again.
// Cost: a microtask for the operations of one fiber; a fork and a round of the scheduler for each group.
import * as Effect from "effect/Effect"
import * as Grouping from "./grouping.js"

export interface Options<in Item, out Answer> extends Grouping.Options<Item, Answer> {
  /** Whether the operations of one fiber wait too. */
  readonly forced: boolean
}

export const make = <Item, Answer>(options: Options<Item, Answer>): Grouping.Grouping<Item, Answer> => {
  const rounds = new Rounds(options)
  return {
    run: (item, alone) =>
      Effect.withFiberRuntime((fiber) =>
        Grouping.isHeavy(options, item) || rounds.isAlone(fiber.id().id)
          ? alone
          : Grouping.orAlone(rounds.wait(item), alone)
      )
  }
}

class Rounds<Item, Answer> {
  private readonly queue: Grouping.Queue<Item, Answer>
  /** The fiber that arrived last in this turn of the event loop. */
  private last: number | undefined
  /** Whether several fibers arrived in one turn since the last group of one. */
  private shared = false
  private pending = false

  constructor(private readonly options: Options<Item, Answer>) {
    this.queue = new Grouping.Queue(options)
  }

  isAlone(fiber: number): boolean {
    // requests that arrive one after the other have separate fibers, but not in the same turn
    if (this.last === undefined) queueMicrotask(this.forget)
    else this.shared ||= this.last !== fiber
    this.last = fiber
    return !this.shared && !this.options.forced
  }

  private readonly forget = (): void => {
    this.last = undefined
  }

  wait(item: Item): Effect.Effect<Answer | undefined> {
    const begun = Effect.suspend(() => {
      if (this.pending) return Effect.void
      this.pending = true
      return Effect.forkDaemon(this.sendAll)
    })
    return Effect.zipRight(begun, this.queue.wait(item))
  }

  private readonly sendAll: Effect.Effect<void> = Effect.suspend(() =>
    // the other fibers that are ready run first, and may add operations
    Effect.zipRight(
      Effect.yieldNow({ priority: 1 }),
      Effect.flatMap(this.queue.send(), (sent) => {
        if (this.queue.size > 0) return this.sendAll
        this.pending = false
        this.shared = sent > 1
        return Effect.void
      })
    )
  )
}
