// Sends the operations of many fibers to a server together if they have to wait.
// Mechanism: a few lanes, each with one send in progress. An operation that finds a free lane is sent alone and at
// once. Otherwise it waits in a queue. When a lane becomes free, the waiting operations are sent in one group.
// Cost: a counter for an operation that finds a free lane; a timer only while operations wait.
import * as Effect from "effect/Effect"
import * as Grouping from "./grouping.js"

export interface Options<in Item, out Answer> extends Grouping.Options<Item, Answer> {
  /** How many sends may be in progress. */
  readonly lanes: number
  /**
   * Milliseconds after which the waiting operations are sent although no lane is free. A send may be waiting for a lock
   * that does not concern the others.
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

  /** Takes a free lane, unless other operations wait for a lane. */
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

  // a separate fiber sends the group, because each of the waiting fibers may be interrupted
  private send(): void {
    this.underWay++
    Effect.runFork(this.queue.send()).addObserver(() => this.leave())
  }
}
