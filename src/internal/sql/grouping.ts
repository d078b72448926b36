// Queues the operations of many fibers, and sends those that wait in groups.
// Mechanism: one queue in the order of arrival. `lanes.ts` and `rounds.ts` decide when operations wait, and when to
// send.
// Cost: an entry in a set for each operation that waits.
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

export interface Grouping<in Item, in out Answer> {
  /** Runs an operation alone, with the given effect, or in a group. */
  readonly run: <E>(item: Item, alone: Effect.Effect<Answer, E>) => Effect.Effect<Answer, E>
}

export interface Options<in Item, out Answer> {
  /** The highest sum of weights in a group. An operation that weighs more than a quarter of it always goes alone. */
  readonly capacity: number
  readonly weigh: (item: Item) => number
  /**
   * Sends a group, and gives an answer for each item. An item without an answer is run alone. If the send fails, all
   * are.
   */
  readonly send: (items: ReadonlyArray<Item>) => Effect.Effect<ReadonlyArray<Answer | undefined>, unknown>
}

export const isHeavy = <Item, Answer>({ capacity, weigh }: Options<Item, Answer>, item: Item): boolean =>
  weigh(item) * 4 > capacity

/** Takes the answer of a group, or runs the operation alone if the group has no answer for it. */
export const orAlone = <Answer, E>(
  answer: Effect.Effect<Answer | undefined>,
  alone: Effect.Effect<Answer, E>
): Effect.Effect<Answer, E> => Effect.flatMap(answer, (answer) => answer === undefined ? alone : Effect.succeed(answer))

interface Waiting<out Item, in Answer> {
  readonly item: Item
  readonly resume: (answer: Answer | undefined) => void
}

/** The operations that wait, in the order of their arrival. */
export class Queue<Item, Answer> {
  private readonly waiting = new Set<Waiting<Item, Answer>>()

  constructor(private readonly options: Options<Item, Answer>) {}

  get size(): number {
    return this.waiting.size
  }

  /** Waits for the answer. An interruption removes the item from the queue. After the send it only ends the waiting. */
  wait(item: Item): Effect.Effect<Answer | undefined> {
    return Effect.async((resume) => {
      const waiting: Waiting<Item, Answer> = { item, resume: (answer) => resume(Effect.succeed(answer)) }
      this.waiting.add(waiting)
      return Effect.sync(() => this.waiting.delete(waiting))
    })
  }

  /** Sends as many of the waiting operations as fit into a group, and returns their number. */
  send(): Effect.Effect<number> {
    return Effect.suspend(() => {
      const group = this.take()
      if (group.length === 0) return Effect.succeed(0)
      const sent = Effect.suspend(() => this.options.send(group.map(({ item }) => item)))
      return Effect.map(Effect.exit(sent), (exit) => {
        for (const [index, { resume }] of group.entries()) {
          resume(Exit.isSuccess(exit) ? exit.value[index] : undefined)
        }
        return group.length
      })
    })
  }

  private take(): ReadonlyArray<Waiting<Item, Answer>> {
    const { capacity, weigh } = this.options
    const group: Array<Waiting<Item, Answer>> = []
    let weight = 0
    for (const waiting of this.waiting) {
      weight += weigh(waiting.item)
      if (group.length > 0 && weight > capacity) break
      group.push(waiting)
      this.waiting.delete(waiting)
    }
    return group
  }
}
