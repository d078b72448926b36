// Which projections and subscriptions still need the events after a position.
import * as Effect from "effect/Effect"
import type { CheckpointStore, CheckpointStoreError } from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import type { Key } from "../projection/model.js"

/** A version of a subscription, and the position up to which it needs no event any more. */
export interface Holder {
  readonly key: Key
  readonly position: Position.Position
}

/** All versions that are registered, also those that are not active, have stopped or have not begun. */
export const holders = (
  checkpoints: CheckpointStore["Type"]
): Effect.Effect<ReadonlyArray<Holder>, CheckpointStoreError> =>
  Effect.flatMap(checkpoints.list, (all) =>
    Effect.forEach(all, ({ name, parked, partitions, version }) => {
      const key = { name, version }
      const position = lowest(partitions)
      if (parked === 0) return Effect.succeed({ key, position })
      // a parked event is read again when it is tried again
      return Effect.map(
        checkpoints.parked(key, { after: Position.start, limit: 1 }),
        ([first]) => ({ key, position: first === undefined ? position : lower(position, before(first.position)) })
      )
    }))

/** The position up to which nothing is needed by any of them. `undefined` if there are none. */
export const lowestOf = (holders: ReadonlyArray<Holder>): Position.Position | undefined =>
  holders.length === 0 ? undefined : lowest(holders)

const lowest = (all: ReadonlyArray<{ readonly position: Position.Position }>): Position.Position =>
  all.length === 0 ? Position.start : all.map(({ position }) => position).reduce(lower)

const lower = (one: Position.Position, other: Position.Position): Position.Position =>
  Position.Order(one, other) <= 0 ? one : other

/** A position before this one, and after all that are lower. */
const before = (position: Position.Position): Position.Position => {
  const { sequence, transaction } = Position.toParts(position)
  return sequence === "0" ? Position.start : Position.fromParts(transaction, BigInt(sequence) - 1n)
}
