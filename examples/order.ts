import { Data, Either, HashMap, Option, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

export const Sku = Schema.NonEmptyString.pipe(Schema.brand("Sku"))
export const OrderId = Schema.NonEmptyString.pipe(Schema.brand("OrderId"))
const Quantity = Schema.Int.pipe(Schema.between(1, 100))
const Cents = Schema.Int.pipe(Schema.between(0, 1_000_000))

const Line = Schema.Struct({ price: Cents, ordered: Quantity, returned: Schema.NonNegativeInt })

export const OrderState = Schema.Struct({
  status: Schema.Literal("draft", "placed", "shipped"),
  lines: Schema.HashMap({ key: Sku, value: Line }),
  paid: Schema.NonNegativeInt,
  refunded: Schema.NonNegativeInt
})

export class LineAdded
  extends Schema.TaggedClass<LineAdded>()("LineAdded", { sku: Sku, price: Cents, quantity: Quantity })
{}
export class Placed extends Schema.TaggedClass<Placed>()("Placed", { paid: Schema.NonNegativeInt }) {}
export class Shipped extends Schema.TaggedClass<Shipped>()("Shipped", {}) {}
export class Returned extends Schema.TaggedClass<Returned>()("Returned", {
  sku: Sku,
  quantity: Quantity,
  refund: Schema.NonNegativeInt
}) {}

export class AddLine extends Schema.TaggedClass<AddLine>()("AddLine", { sku: Sku, price: Cents, quantity: Quantity }) {}
export class Place
  extends Schema.TaggedClass<Place>()("Place", { discountPercent: Schema.Int.pipe(Schema.between(0, 50)) })
{}
export class Ship extends Schema.TaggedClass<Ship>()("Ship", {}) {}
export class Return extends Schema.TaggedClass<Return>()("Return", { sku: Sku, quantity: Quantity }) {}

export class NotPossible extends Data.TaggedError("NotPossible")<{ readonly status: string }> {}
export class Empty extends Data.TaggedError("Empty") {}
export class NotOrdered extends Data.TaggedError("NotOrdered")<{ readonly sku: string }> {}
export class TooMany extends Data.TaggedError("TooMany")<{ readonly left: number }> {}

export type OrderState = typeof OrderState.Type

const worth = (state: OrderState, quantity: (line: typeof Line.Type) => number) =>
  HashMap.reduce(state.lines, 0, (sum, line) => sum + line.price * quantity(line))

// rounds the total refund of all returned items once: rounding each return could refund more than was paid
const refundFor = (state: OrderState, returning: number) => {
  const ordered = worth(state, (line) => line.ordered)
  const returned = worth(state, (line) => line.returned) + returning
  return ordered === 0 ? 0 : Math.round(state.paid * returned / ordered) - state.refunded
}

export const Order = Aggregate.make({
  name: "Order",
  id: OrderId,
  state: OrderState,
  event: Schema.Union(LineAdded, Placed, Shipped, Returned),
  command: Schema.Union(AddLine, Place, Ship, Return),
  initial: (): OrderState => ({ status: "draft", lines: HashMap.empty(), paid: 0, refunded: 0 }),
  evolve: (state, event): OrderState => {
    switch (event._tag) {
      case "LineAdded": {
        // adding an article again replaces its line
        const line = { price: event.price, ordered: event.quantity, returned: 0 }
        return { ...state, lines: HashMap.set(state.lines, event.sku, line) }
      }
      case "Placed":
        return { ...state, status: "placed", paid: event.paid }
      case "Shipped":
        return { ...state, status: "shipped" }
      case "Returned": {
        const returned = (line: typeof Line.Type) => ({ ...line, returned: line.returned + event.quantity })
        return {
          ...state,
          lines: HashMap.modify(state.lines, event.sku, returned),
          refunded: state.refunded + event.refund
        }
      }
    }
  },
  decide: (state, command) => {
    switch (command._tag) {
      case "AddLine":
        return state.status === "draft"
          ? Either.right([new LineAdded({ sku: command.sku, price: command.price, quantity: command.quantity })])
          : Either.left(new NotPossible({ status: state.status }))
      case "Place": {
        if (state.status !== "draft") return Either.left(new NotPossible({ status: state.status }))
        if (HashMap.isEmpty(state.lines)) return Either.left(new Empty())
        const paid = Math.round(worth(state, (line) => line.ordered) * (100 - command.discountPercent) / 100)
        return Either.right([new Placed({ paid })])
      }
      case "Ship":
        return state.status === "placed"
          ? Either.right([new Shipped()])
          : Either.left(new NotPossible({ status: state.status }))
      case "Return": {
        if (state.status !== "shipped") return Either.left(new NotPossible({ status: state.status }))
        const line = HashMap.get(state.lines, command.sku)
        if (Option.isNone(line)) return Either.left(new NotOrdered({ sku: command.sku }))
        const { ordered, price, returned } = line.value
        if (command.quantity > ordered - returned) return Either.left(new TooMany({ left: ordered - returned }))
        const refund = refundFor(state, price * command.quantity)
        return Either.right([new Returned({ sku: command.sku, quantity: command.quantity, refund })])
      }
    }
  }
})
