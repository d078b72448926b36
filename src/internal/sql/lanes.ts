// Sends the operations of many fibers to a server together if they have to wait.
// Mechanism: a few lanes, each with one send in progress. An operation that finds a free lane is sent alone and at
// once. Otherwise it waits in a queue. When a lane becomes free, waiting operations are sent in one group: an equal
// share for each lane, so that the server works on one group while this program works on the other. A send that takes
// too long loses its lane. The operations of a group go on together, and often their fibers come back together. So after
// a group an operation waits until all fibers that are ready have run, even if a lane is free.
// Cost: an entry in a set for an operation that finds a free lane; a timer only while operations wait.
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Scheduler } from "effect/Scheduler"
import * as Grouping from "./grouping.js"

export interface Options<in Item, out Answer, out E> extends Grouping.Options<Item, Answer, E> {
  /** How many sends may be in progress. */
  readonly lanes: number
  /**
   * Milliseconds after which the waiting operations are sent although no lane is free. A send may be waiting for a lock
   * that does not concern the others. A send that has lasted so long loses its lane.
   */
  readonly patience: number
}

/** The lanes of a store. Without a lane every operation waits for a moment, and is in a group. */
export const limits = (forced: boolean): { readonly lanes: number; readonly patience: number } =>
  forced ? { lanes: 0, patience: 1 } : { lanes: 2, patience: 20 }

export const make = <Item, Answer, E>(options: Options<Item, Answer, E>): Grouping.Grouping<Item, Answer, E> => {
  const lanes = new Lanes(options)
  return {
    run: (item, alone) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.withFiberRuntime((fiber) => {
          if (Grouping.isHeavy(options, item)) return restore(alone)
          const { currentScheduler } = fiber
          const send = lanes.enter(currentScheduler)
          return send === undefined
            ? restore(Grouping.orAlone(lanes.wait(item, currentScheduler), alone))
            : Effect.ensuring(restore(alone), Effect.sync(() => lanes.leave(send)))
        })
      )
  }
}

/** A send in progress. */
interface Send {
  /** The number of its operations. */
  size: number
}

class Lanes<Item, Answer, E> {
  private readonly queue: Grouping.Queue<Item, Answer, E>
  /** The sends that have a lane. */
  private readonly underWay = new Set<Send>()
  /** The sends that had a lane when the timer began. */
  private suspects: ReadonlyArray<Send> = []
  private timer: ReturnType<typeof setTimeout> | undefined
  private sending = false
  /** Whether the last group had several operations. */
  private shared = false
  /** The scheduler whose ready fibers run before the waiting operations are sent. */
  private round: Scheduler | undefined

  constructor(private readonly options: Options<Item, Answer, E>) {
    this.queue = new Grouping.Queue(options)
  }

  /** Takes a free lane, unless other operations wait, or are likely to come in this round of the scheduler. */
  enter(scheduler: Scheduler): Send | undefined {
    if (this.isFull()) return undefined
    if (this.round === undefined) return this.shared || this.queue.size > 0 ? undefined : this.take()
    // a fiber does not wait for another scheduler, which may be slower
    return this.round === scheduler ? undefined : this.take()
  }

  leave(send: Send): void {
    this.underWay.delete(send)
    this.sendWaiting()
  }

  wait(item: Item, scheduler: Scheduler): Effect.Effect<Answer | undefined, E> {
    return this.queue.wait(item, () => {
      // a fiber that finds no lane does not wait for another scheduler either
      if (this.round !== scheduler) this.round = undefined
      // a lane may have become free since this fiber found none
      if (!this.shared || this.isFull()) return this.sendWaiting()
      if (this.round !== undefined) return
      this.round = scheduler
      scheduler.scheduleTask(() => {
        this.round = undefined
        this.sendWaiting()
      }, 1)
    })
  }

  private isFull(): boolean {
    return this.underWay.size >= this.options.lanes
  }

  private take(): Send {
    const send: Send = { size: 1 }
    this.underWay.add(send)
    return send
  }

  private sendWaiting(): void {
    // a send that ends at once comes here again, and many of them would fill the stack
    if (this.sending || this.round !== undefined) return
    this.sending = true
    while (!this.isFull() && this.queue.size > 0) this.send()
    this.sending = false
    if (this.queue.size === 0) {
      clearTimeout(this.timer)
      this.timer = undefined
    } else if (this.timer === undefined) {
      this.suspects = Array.from(this.underWay)
      this.timer = setTimeout(() => this.loseHope(), this.options.patience)
    }
  }

  private loseHope(): void {
    this.timer = undefined
    for (const send of this.suspects) this.underWay.delete(send)
    if (this.isFull() && this.queue.size > 0) this.send()
    this.sendWaiting()
  }

  // A separate fiber sends the group, because each of the waiting fibers may be interrupted. It has its lane until the
  // fibers of the group have run: otherwise a few that waited would go now, and these later, in groups too small.
  private send(): void {
    const share = this.share()
    const send = this.take()
    const sending = Effect.tap(
      this.queue.send(share, (size) => send.size = size),
      (size) => size > 1 ? Effect.yieldNow({ priority: 1 }) : Effect.void
    )
    Effect.runFork(sending).addObserver((exit) => {
      this.shared = Exit.isSuccess(exit) && exit.value > 1
      this.leave(send)
    })
  }

  private share(): number {
    let operations = this.queue.size
    for (const { size } of this.underWay) operations += size
    return Math.ceil(operations / Math.max(1, this.options.lanes))
  }
}
