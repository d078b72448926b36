// Runs the operations of many fibers on a database in this process together: each of them would run at once, and none waits.
// Mechanism: as long as one fiber alone comes in a turn of the event loop, its operations run alone and at once. When another
// one comes, operations wait until the fibers that can run have run, and go in one group. A group of one ends this.
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
  /** The fiber that came last, in this turn of the event loop. */
  private last: number | undefined
  /** Whether several fibers came lately. */
  private shared = false
  private pending = false

  constructor(private readonly options: Options<Item, Answer>) {
    this.queue = new Grouping.Queue(options)
  }

  isAlone(fiber: number): boolean {
    // requests that come one after the other are in fibers of their own, but not in one turn
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
    // fibers that can run come first
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
