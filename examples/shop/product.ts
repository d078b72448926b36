// A product and its stock. `Reserve` always succeeds: whether there was stock is an event, so it is decided once.
import { HttpApiSchema } from "@effect/platform"
import { Context, Either, Schema } from "effect"
import { Aggregate, type Repository } from "effect-eventsourcing"

const Cents = Schema.Int.pipe(Schema.between(0, 1_000_000))
const Quantity = Schema.Int.pipe(Schema.between(1, 1_000))

export class Listed extends Schema.TaggedClass<Listed>()("Listed", { name: Schema.String, price: Cents }) {}
export class PriceSet extends Schema.TaggedClass<PriceSet>()("PriceSet", { price: Cents }) {}
export class Restocked extends Schema.TaggedClass<Restocked>()("Restocked", { quantity: Quantity }) {}
export class Reserved
  extends Schema.TaggedClass<Reserved>()("Reserved", { order: Schema.String, quantity: Quantity, price: Cents })
{}
export class OutOfStock extends Schema.TaggedClass<OutOfStock>()("OutOfStock", { order: Schema.String }) {}

export class List extends Schema.TaggedClass<List>()("List", { name: Schema.NonEmptyString, price: Cents }) {}
export class SetPrice extends Schema.TaggedClass<SetPrice>()("SetPrice", { price: Cents }) {}
export class Restock extends Schema.TaggedClass<Restock>()("Restock", { quantity: Quantity }) {}
export class Reserve extends Schema.TaggedClass<Reserve>()("Reserve", { order: Schema.String, quantity: Quantity }) {}

// the API answers a rejection with the status of its schema
export class NotListed
  extends Schema.TaggedError<NotListed>()("NotListed", {}, HttpApiSchema.annotations({ status: 404 }))
{}
export class AlreadyListed
  extends Schema.TaggedError<AlreadyListed>()("AlreadyListed", {}, HttpApiSchema.annotations({ status: 409 }))
{}

export const Product = Aggregate.make({
  name: "Product",
  id: Schema.NonEmptyString,
  state: Schema.Struct({ name: Schema.NullOr(Schema.String), price: Cents, stock: Schema.Int }),
  event: Schema.Union(Listed, PriceSet, Restocked, Reserved, OutOfStock),
  command: Schema.Union(List, SetPrice, Restock, Reserve),
  rejection: Schema.Union(NotListed, AlreadyListed),
  initial: () => ({ name: null, price: 0, stock: 0 }),
  evolve: {
    Listed: (state, { name, price }) => ({ ...state, name, price }),
    PriceSet: (state, { price }) => ({ ...state, price }),
    Restocked: (state, { quantity }) => ({ ...state, stock: state.stock + quantity }),
    Reserved: (state, { quantity }) => ({ ...state, stock: state.stock - quantity }),
    OutOfStock: (state) => state
  },
  decide: {
    List: (state, { name, price }) =>
      state.name === null ? Either.right([new Listed({ name, price })]) : Either.left(new AlreadyListed()),
    SetPrice: (state, { price }) =>
      state.name === null ? Either.left(new NotListed()) : Either.right([new PriceSet({ price })]),
    Restock: (state, { quantity }) =>
      state.name === null ? Either.left(new NotListed()) : Either.right([new Restocked({ quantity })]),
    Reserve: ({ price, stock }, { order, quantity }) =>
      Either.right([
        stock < quantity ? new OutOfStock({ order }) : new Reserved({ order, quantity, price })
      ])
  }
})

export class Products extends Context.Tag("shop/Products")<Products, Repository.Repository<typeof Product>>() {}
