// An order of one product. It is placed by a customer, then confirmed or refused by the fulfilment.
import { HttpApiSchema } from "@effect/platform"
import { Context, Either, Schema } from "effect"
import { Aggregate, type Repository } from "effect-eventsourcing"

const Quantity = Schema.Int.pipe(Schema.between(1, 1_000))

export class Placed
  extends Schema.TaggedClass<Placed>()("Placed", { product: Schema.NonEmptyString, quantity: Quantity })
{}
export class Confirmed extends Schema.TaggedClass<Confirmed>()("Confirmed", { total: Schema.Int }) {}
export class Refused extends Schema.TaggedClass<Refused>()("Refused", {}) {}

export class Place
  extends Schema.TaggedClass<Place>()("Place", { product: Schema.NonEmptyString, quantity: Quantity })
{}
export class Confirm extends Schema.TaggedClass<Confirm>()("Confirm", { total: Schema.Int }) {}
export class Refuse extends Schema.TaggedClass<Refuse>()("Refuse", {}) {}

export class AlreadyPlaced
  extends Schema.TaggedError<AlreadyPlaced>()("AlreadyPlaced", {}, HttpApiSchema.annotations({ status: 409 }))
{}

export const Order = Aggregate.make({
  name: "Order",
  id: Schema.NonEmptyString,
  state: Schema.Struct({
    status: Schema.Literal("none", "placed", "confirmed", "refused"),
    product: Schema.String,
    quantity: Schema.Int,
    total: Schema.Int
  }),
  event: Schema.Union(Placed, Confirmed, Refused),
  command: Schema.Union(Place, Confirm, Refuse),
  rejection: AlreadyPlaced,
  initial: () => ({ status: "none", product: "", quantity: 0, total: 0 }),
  evolve: {
    Placed: (state, { product, quantity }) => ({ ...state, status: "placed", product, quantity }),
    Confirmed: (state, { total }) => ({ ...state, status: "confirmed", total }),
    Refused: (state) => ({ ...state, status: "refused" })
  },
  decide: {
    Place: ({ status }, { product, quantity }) =>
      status === "none" ? Either.right([new Placed({ product, quantity })]) : Either.left(new AlreadyPlaced()),
    Confirm: ({ status }, { total }) => Either.right(status === "placed" ? [new Confirmed({ total })] : []),
    Refuse: ({ status }) => Either.right(status === "placed" ? [new Refused()] : [])
  }
})

export class Orders extends Context.Tag("shop/Orders")<Orders, Repository.Repository<typeof Order>>() {}
