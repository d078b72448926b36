/**
 * A place in the order over all streams. It is opaque: compare positions with {@link Order}, keep them through the
 * schema {@link Position}, and make none yourself but {@link start}.
 *
 * @since 0.1.0
 */
import * as order from "effect/Order"
import * as Schema from "effect/Schema"

const pattern = /^\d{20}-\d{20}$/

/**
 * @since 0.1.0
 * @category schemas
 */
export const Position = Schema.String.pipe(
  Schema.pattern(pattern, {
    message: () => "Expected a position that readAll or append gave",
    arbitrary: () => (fc) =>
      fc.tuple(fc.bigUintN(63), fc.bigUintN(63)).map(([transaction, sequence]) => render(transaction, sequence))
  }),
  Schema.brand("effect-eventsourcing/Position")
)

/**
 * @since 0.1.0
 * @category models
 */
export type Position = typeof Position.Type

/**
 * Before the first event.
 *
 * @since 0.1.0
 * @category constants
 */
export const start: Position = Position.make(render(0n, 0n))

/**
 * @since 0.1.0
 * @category ordering
 */
export const Order: order.Order<Position> = order.string

/**
 * For drivers: a position from the number of the writing transaction (0 where commits are serial) and a sequence.
 *
 * @since 0.1.0
 * @category drivers
 */
export const fromParts = (transaction: bigint | number | string, sequence: bigint | number | string): Position =>
  Position.make(render(transaction, sequence), { disableValidation: true })

/**
 * For drivers: the two numbers of a position, as decimal text.
 *
 * @since 0.1.0
 * @category drivers
 */
export const toParts = (position: Position): { readonly transaction: string; readonly sequence: string } => {
  const [transaction, sequence] = position.split("-")
  return { transaction: BigInt(transaction).toString(), sequence: BigInt(sequence).toString() }
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

// fixed width, so that the order of the text is the order of the numbers
function render(transaction: bigint | number | string, sequence: bigint | number | string): string {
  return `${String(transaction).padStart(20, "0")}-${String(sequence).padStart(20, "0")}`
}
