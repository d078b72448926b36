/**
 * Positions of events in the order over all streams.
 *
 * A position is opaque: compare positions with {@link Order} and encode them with the schema {@link Position}. The only
 * position that a program makes itself is {@link start}.
 *
 * @since 0.1.0
 */
import * as order from "effect/Order"
import * as Schema from "effect/Schema"

const pattern = /^\d{20}-\d{20}$/

/**
 * Encodes positions as text that sorts in the order of the positions.
 *
 * @example
 * ```ts
 * import { Position } from "effect-eventsourcing"
 * import { Schema } from "effect"
 *
 * const Checkpoint = Schema.Struct({ reader: Schema.String, after: Position.Position })
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const Position = Schema.String.pipe(
  Schema.pattern(pattern, {
    message: () => "Expected a position that an event store gave",
    arbitrary: () => (fc) =>
      fc.tuple(fc.bigUintN(63), fc.bigUintN(63)).map(([transaction, sequence]) => render(transaction, sequence))
  }),
  Schema.brand("effect-eventsourcing/Position")
)

/**
 * The position of an event in the order over all streams.
 *
 * @since 0.1.0
 * @category models
 */
export type Position = typeof Position.Type

/**
 * The position before the first event.
 *
 * @example
 * ```ts
 * import { Position } from "effect-eventsourcing"
 *
 * const after = (checkpoint?: Position.Position) => checkpoint ?? Position.start
 * ```
 *
 * @since 0.1.0
 * @category constants
 */
export const start: Position = Position.make(render(0n, 0n))

/**
 * Compares positions.
 *
 * @example
 * ```ts
 * import { Position } from "effect-eventsourcing"
 * import { Order } from "effect"
 *
 * const later = Order.max(Position.Order)
 * ```
 *
 * @since 0.1.0
 * @category ordering
 */
export const Order: order.Order<Position> = order.string

/**
 * Makes a position from the number of the writing transaction and a sequence number, for drivers. The number of the
 * transaction is 0 if commits are serial.
 *
 * @example
 * ```ts
 * import { Position } from "effect-eventsourcing"
 *
 * const position = Position.fromParts(0, 42)
 * ```
 *
 * @since 0.1.0
 * @category drivers
 */
export const fromParts = (transaction: bigint | number | string, sequence: bigint | number | string): Position =>
  Position.make(render(transaction, sequence), { disableValidation: true })

/**
 * Splits a position into its two numbers, as decimal text, for drivers.
 *
 * @example
 * ```ts
 * import { Position } from "effect-eventsourcing"
 *
 * const { sequence } = Position.toParts(Position.fromParts(7, 42)) // "42"
 * ```
 *
 * @since 0.1.0
 * @category drivers
 */
export const toParts = (position: Position): { readonly transaction: string; readonly sequence: string } => {
  const [transaction, sequence] = position.split("-")
  return { transaction: BigInt(transaction).toString(), sequence: BigInt(sequence).toString() }
}

// the fixed width makes the order of the texts the order of the numbers
function render(transaction: bigint | number | string, sequence: bigint | number | string): string {
  return `${String(transaction).padStart(20, "0")}-${String(sequence).padStart(20, "0")}`
}
