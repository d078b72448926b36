import * as Order from "effect/Order"
import * as Position from "../../Position.js"

/** Gives the higher one of two positions. */
export const later: (one: Position.Position, other: Position.Position) => Position.Position = Order.max(Position.Order)
