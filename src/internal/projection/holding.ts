// How a hold is placed, so that it keeps no batch waiting. Pure, for all drivers.
//
// A batch locks the row of its partition. One who waits for one batch must not keep the rows of other partitions locked
// meanwhile: they would stand still for as long as the slowest batch takes, again and again. So each partition is held by
// a step of its own, which keeps no lock when it is done. A batch may pass the position in between: the partitions are
// looked at again, until all are held where the highest of them stands. A hold that is in place already costs one look.
import * as Option from "effect/Option"
import * as Position from "../../Position.js"
import { later } from "../store/later.js"

/** A partition, as the one who holds it sees it. */
export interface Held {
  readonly position: Position.Position
  /** The hold, if its time is not over. */
  readonly hold: Option.Option<Position.Position>
  /** How long it lasts still, in milliseconds. */
  readonly left: number
}

/** Where partitions are to be held. An earlier hold may be at a higher position, on the way to which others are. */
export const target = (partitions: ReadonlyArray<Pick<Held, "position" | "hold">>): Position.Position =>
  partitions.reduce((at, one) => later(at, heldAt(one, one.position)), Position.start)

/** Where a partition is held from now on: not lower than it is, and not lower than it is held. */
export const heldAt = ({ hold, position }: Pick<Held, "position" | "hold">, at: Position.Position): Position.Position =>
  later(later(at, position), Option.getOrElse(hold, () => position))

/** The partitions that are to be held, the ones that are ahead first. The others are held for long enough. */
export const toHold = <A extends Held>(
  partitions: ReadonlyArray<A>,
  at: Position.Position,
  ttl: number
): ReadonlyArray<A> =>
  partitions
    .filter(({ hold, left }) => Option.getOrUndefined(hold) !== at || left < ttl / 2)
    .sort((one, other) => Position.Order(other.position, one.position))

/** How often the partitions are looked at. Each look after the first one is for what changed during the one before. */
export const maxLooks = 5

/** How long partitions are waited for in a row, in milliseconds. The others are held at the next call. */
export const patience = 1_000
