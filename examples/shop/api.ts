// What the service offers. The payloads, the states and the rejections are the schemas of the aggregates.
import { HttpApi, HttpApiEndpoint, HttpApiError, HttpApiGroup, HttpApiSchema, OpenApi } from "@effect/platform"
import { Schema } from "effect"
import { Position, Projections } from "effect-eventsourcing"
import { CatalogueRow } from "./catalogue.js"
import { Order, Place } from "./order.js"
import { OrderRow } from "./orderList.js"
import { List, Product, Restock, SetPrice } from "./product.js"

/** The aggregate is at another version than the one that the client saw. */
export class Outdated extends Schema.TaggedError<Outdated>()(
  "Outdated",
  { version: Schema.Int },
  HttpApiSchema.annotations({ status: 412 })
) {}

/** The command may have been stored or not. The client repeats it with the same key, under which it counts once. */
export class TryAgain extends Schema.TaggedError<TryAgain>()(
  "TryAgain",
  { mayHaveHappened: Schema.Boolean },
  HttpApiSchema.annotations({ status: 503 })
) {}

/** The list does not show the position yet. */
export class Behind extends Schema.TaggedError<Behind>()("Behind", {}, HttpApiSchema.annotations({ status: 503 })) {}

/** A version as an entity tag of HTTP, which is in quotes. */
const EntityTag = Schema.TemplateLiteralParser(
  "\"",
  Schema.compose(Schema.NumberFromString, Schema.NonNegativeInt),
  "\""
)

const CommandHeaders = Schema.Struct({
  "idempotency-key": Schema.optional(Schema.NonEmptyString),
  "if-match": Schema.optional(EntityTag)
})

/** The answer to a command. `position` is for the parameter `after` of the lists. */
const Done = Schema.Struct({
  version: Schema.Int,
  position: Schema.optional(Position.Position),
  duplicate: Schema.Boolean
})

const After = Schema.Struct({ after: Schema.optional(Position.Position) })

const id = HttpApiSchema.param("id", Schema.NonEmptyString)

const products = HttpApiGroup.make("products")
  .add(
    HttpApiEndpoint.get("get")`/products/${id}`.addSuccess(Product.schemas.state).addError(HttpApiError.NotFound)
  )
  .add(
    HttpApiEndpoint.post("send")`/products/${id}`
      .setHeaders(CommandHeaders)
      .setPayload(Schema.Union(List, SetPrice, Restock))
      .addSuccess(Done)
      .addError(Product.schemas.rejection)
      .addError(Outdated)
  )
  .add(
    HttpApiEndpoint.get("list")`/products`.setUrlParams(After).addSuccess(Schema.Array(CatalogueRow)).addError(Behind)
  )

const orders = HttpApiGroup.make("orders")
  .add(HttpApiEndpoint.get("get")`/orders/${id}`.addSuccess(Order.schemas.state).addError(HttpApiError.NotFound))
  .add(
    HttpApiEndpoint.post("place")`/orders/${id}`
      .setHeaders(CommandHeaders)
      .setPayload(Schema.Struct(Place.fields).pipe(Schema.omit("_tag")))
      .addSuccess(Done)
      .addError(Order.schemas.rejection)
      .addError(Outdated)
  )
  .add(HttpApiEndpoint.get("list")`/orders`.setUrlParams(After).addSuccess(Schema.Array(OrderRow)).addError(Behind))

const operations = HttpApiGroup.make("operations")
  .add(HttpApiEndpoint.get("status")`/status`.addSuccess(Schema.Array(Projections.Status)))

export class Api extends HttpApi.make("shop")
  .add(products)
  .add(orders)
  .add(operations)
  .addError(HttpApiError.BadRequest)
  .addError(HttpApiError.Gone)
  .addError(TryAgain)
  .addError(HttpApiError.InternalServerError)
  .annotate(OpenApi.Title, "Shop")
  .annotate(
    OpenApi.Description,
    "`Idempotency-Key` makes a command count once. `If-Match` is the `ETag` that the client saw last. A list shows what " +
      "a client wrote if `after` is the `position` of the answer."
  )
{}
