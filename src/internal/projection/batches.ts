import * as Either from "effect/Either"
import type * as Position from "../../Position.js"
import type { Item } from "./definition.js"
import type { Batch } from "./worker.js"

/** An event that could not be read, which is handled alone. */
export interface Unreadable<out E> {
  readonly item: Item<E>
  readonly to: Position.Position
}

/**
 * Cuts the events of a page into batches of at most `size`. The last batch goes up to `settled`, and has no events if the
 * page has none. An event that could not be read is a left in its place.
 */
export const batches = <E>(
  items: ReadonlyArray<Item<E>>,
  size: number,
  settled: Position.Position
): ReadonlyArray<Either.Either<Batch<E>, Unreadable<E>>> => {
  const result: Array<Either.Either<Batch<E>, Unreadable<E>>> = []
  let current: Array<Item<E>> = []
  const close = (to: Position.Position) => {
    result.push(Either.right({ items: current, to }))
    current = []
  }
  for (const [index, item] of items.entries()) {
    const isLast = index === items.length - 1
    if (Either.isLeft(item.event)) {
      if (current.length > 0) close(current[current.length - 1].position)
      result.push(Either.left({ item, to: isLast ? settled : item.position }))
      continue
    }
    current.push(item)
    if (isLast) close(settled)
    else if (current.length >= size) close(item.position)
  }
  if (items.length === 0) close(settled)
  return result
}
