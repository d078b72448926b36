// Sends the operations of many fibers to a server together, if they have to wait anyway.
// Mechanism: a few lanes, each with one send under way. An operation that finds a free lane goes alone and at once. The
// others queue, and when a lane gets free, those that wait are sent in one group.
// Cost: a counter for an operation that finds a free lane; a timer only while operations wait.
import * as Effect from "effect/Effect"
import * as Grouping from "./grouping.js"

export interface Options<in Item, out Answer> extends Grouping.Options<Item, Answer> {
  /** How many sends may be under way. */
  readonly lanes: number
  /**
   * Milliseconds after which those that wait are sent although no lane is free: a send may be held up by a lock that does
   * not concern the others.
   */
  readonly patience: number
}

export const make = <Item, Answer>(options: Options<Item, Answer>): Grouping.Grouping<Item, Answer> => {
  const lanes = new Lanes(options)
  return {
    run: (item, alone) =>
      Effect.uninterruptibleMask((restore) => {
        if (Grouping.isHeavy(options, item)) return restore(alone)
        return lanes.enter()
          ? Effect.ensuring(restore(alone), Effect.sync(() => lanes.leave()))
          : restore(Grouping.orAlone(lanes.wait(item), alone))
      })
  }
}

class Lanes<Item, Answer> {
  private readonly queue: Grouping.Queue<Item, Answer>
  private underWay = 0
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(private readonly options: Options<Item, Answer>) {
    this.queue = new Grouping.Queue(options)
  }

  /** Takes a free lane, unless operations wait for one. */
  enter(): boolean {
    if (this.underWay >= this.options.lanes || this.queue.size > 0) return false
    this.underWay++
    return true
  }

  leave(): void {
    this.underWay--
    while (this.underWay < this.options.lanes && this.queue.size > 0) this.send()
    if (this.queue.size > 0) return
    clearTimeout(this.timer)
    this.timer = undefined
  }

  wait(item: Item): Effect.Effect<Answer | undefined> {
    return Effect.suspend(() => {
      this.timer ??= setTimeout(() => this.loseHope(), this.options.patience)
      return this.queue.wait(item)
    })
  }

  private loseHope(): void {
    this.timer = undefined
    if (this.queue.size > 0) this.send()
    if (this.queue.size > 0) this.timer = setTimeout(() => this.loseHope(), this.options.patience)
  }

  // in a fiber of its own: each of the waiting ones may be interrupted
  private send(): void {
    this.underWay++
    Effect.runFork(this.queue.send()).addObserver(() => this.leave())
  }
}
