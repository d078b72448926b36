// Queues the operations of many fibers, and sends those that wait in groups.
// Mechanism: one queue in the order of arrival. `lanes.ts` and `rounds.ts` decide when operations wait, and when to
// send.
// Cost: an entry in a set for each operation that waits.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

export interface Grouping<in Item, in out Answer, in out E> {
  /** Runs an operation alone, with the given effect, or in a group. */
  readonly run: (item: Item, alone: Effect.Effect<Answer, E>) => Effect.Effect<Answer, E>
}

export interface Options<in Item, out Answer, out E> {
  /** The highest sum of weights in a group. An operation that weighs more than a quarter of it always goes alone. */
  readonly capacity: number
  readonly weigh: (item: Item) => number
  /**
   * Sends a group, and gives an answer for each item. An item without an answer is run alone. If the send dies, all
   * are. If it fails, each item fails. `isWanted` tells whether a fiber still waits for the answer to an item.
   */
  readonly send: (
    items: ReadonlyArray<Item>,
    isWanted: (index: number) => boolean
  ) => Effect.Effect<ReadonlyArray<Answer | undefined>, E>
}

export const isHeavy = <Item, Answer, E>({ capacity, weigh }: Options<Item, Answer, E>, item: Item): boolean =>
  weigh(item) * 4 > capacity

/** Takes the answer of a group, or runs the operation alone if the group has no answer for it. */
export const orAlone = <Answer, E>(
  answer: Effect.Effect<Answer | undefined, E>,
  alone: Effect.Effect<Answer, E>
): Effect.Effect<Answer, E> => Effect.flatMap(answer, (answer) => answer === undefined ? alone : Effect.succeed(answer))

/** Sends a group of one alone: a single statement costs less, and its failure is that of the operation. */
export const unlessOne = <Item, Answer, E>(
  sendGroup: Options<Item, Answer, E>["send"],
  sendAlone: (item: Item) => Effect.Effect<Answer, E>
): Options<Item, Answer, E>["send"] =>
(items, isWanted) =>
  items.length === 1 ? Effect.map(sendAlone(items[0]), (answer) => [answer]) : sendGroup(items, isWanted)

interface Waiting<out Item, in Answer, in E> {
  readonly item: Item
  readonly resume: (answer: Effect.Effect<Answer | undefined, E>) => void
  /** Whether its fiber was interrupted. */
  left: boolean
  sent: Sent | undefined
}

/** A group that was sent. */
interface Sent {
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  /** How many fibers still wait for its answers. */
  wanted: number
}

/** The operations that wait, in the order of their arrival. */
export class Queue<Item, Answer, E> {
  private readonly waiting = new Set<Waiting<Item, Answer, E>>()

  constructor(private readonly options: Options<Item, Answer, E>) {}

  get size(): number {
    return this.waiting.size
  }

  /**
   * Waits for the answer. `joined` is called when the item is in the queue. An interruption removes the item from the
   * queue. After the send it only ends the waiting, but a group for which no fiber waits any more is interrupted.
   */
  wait(item: Item, joined: () => void): Effect.Effect<Answer | undefined, E> {
    return Effect.async((resume) => {
      const waiting: Waiting<Item, Answer, E> = { item, resume, left: false, sent: undefined }
      this.waiting.add(waiting)
      joined()
      return Effect.suspend(() => this.leave(waiting))
    })
  }

  /**
   * Sends as many of the waiting operations as fit into a group, and returns their number. It needs its own fiber. A
   * group has at most `most` operations. `began` is told the number.
   */
  send(most = Infinity, began: (size: number) => void = () => {}): Effect.Effect<number> {
    return Effect.withFiberRuntime((fiber) => {
      const group = this.take(most)
      began(group.length)
      if (group.length === 0) return Effect.succeed(0)
      const sent: Sent = { fiber, wanted: group.length }
      for (const waiting of group) waiting.sent = sent
      const sending = Effect.suspend(() =>
        this.options.send(group.map(({ item }) => item), (index) => !group[index].left)
      )
      return Effect.map(Effect.exit(sending), (exit) => {
        for (const [index, { resume }] of group.entries()) resume(answerAt(exit, index))
        return group.length
      })
    })
  }

  private leave(waiting: Waiting<Item, Answer, E>): Effect.Effect<unknown> {
    waiting.left = true
    const { sent } = waiting
    if (this.waiting.delete(waiting) || sent === undefined) return Effect.void
    sent.wanted--
    return sent.wanted === 0 ? Fiber.interrupt(sent.fiber) : Effect.void
  }

  private take(most: number): ReadonlyArray<Waiting<Item, Answer, E>> {
    const { capacity, weigh } = this.options
    const group: Array<Waiting<Item, Answer, E>> = []
    let weight = 0
    for (const waiting of this.waiting) {
      weight += weigh(waiting.item)
      if (group.length > 0 && (group.length >= most || weight > capacity)) break
      group.push(waiting)
      this.waiting.delete(waiting)
    }
    return group
  }
}

const answerAt = <Answer, E>(
  exit: Exit.Exit<ReadonlyArray<Answer | undefined>, E>,
  index: number
): Effect.Effect<Answer | undefined, E> => {
  if (Exit.isSuccess(exit)) return Effect.succeed(exit.value[index])
  const failure = Cause.failureOption(exit.cause)
  return Option.isSome(failure) ? Effect.fail(failure.value) : Effect.succeed(undefined)
}
