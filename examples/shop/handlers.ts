// The handlers of the API.
import { HttpApiBuilder, HttpApiError, HttpApp, HttpServerResponse } from "@effect/platform"
import { Effect, Layer, Option } from "effect"
import { ExpectedVersion, type Position, Projections, type Repository } from "effect-eventsourcing"
import { Api } from "./api.js"
import { readCatalogue } from "./catalogue.js"
import { Orders, Place } from "./order.js"
import { readOrderList } from "./orderList.js"
import * as Problems from "./problems.js"
import { Products } from "./product.js"

/** Answers with the version as an entity tag, which the client can send back as `If-Match`. */
const withEntityTag = (version: number) =>
  HttpApp.appendPreResponseHandler((_, response) =>
    Effect.succeed(HttpServerResponse.setHeader(response, "etag", `"${version}"`))
  )

const show = <S>(
  { exists, state, version }: { readonly exists: boolean; readonly state: S; readonly version: number }
) => exists ? Effect.as(withEntityTag(version), state) : new HttpApiError.NotFound()

const done = <S, E>({ duplicate, position, version }: Repository.Executed<S, E>) =>
  Effect.as(withEntityTag(version), { version, duplicate, position: Option.getOrUndefined(position) })

interface CommandHeaders {
  readonly "idempotency-key"?: string | undefined
  readonly "if-match"?: readonly ["\"", number, "\""] | undefined
}

/** `If-Match` is the expected version, and `Idempotency-Key` the id of the command. */
const optionsOf = ({ "idempotency-key": commandId, "if-match": seen }: CommandHeaders) => ({
  commandId,
  expectedVersion: seen === undefined ? undefined : ExpectedVersion.exact(seen[1])
})

/** Waits until a list shows what the client wrote. */
const until = (name: string, after: Position.Position | undefined) =>
  after === undefined
    ? Effect.void
    : Projections.awaitPosition(name, after, { timeout: "2 seconds" })

const ProductsLive = HttpApiBuilder.group(Api, "products", (handlers) =>
  Effect.map(Products, (products) =>
    handlers
      .handle("get", ({ path }) => products.load(path.id).pipe(Effect.catchTags(Problems.ofLoad), Effect.flatMap(show)))
      .handle("send", ({ headers, path, payload }) =>
        products.execute(path.id, payload, optionsOf(headers)).pipe(
          Effect.flatMap(done),
          Effect.catchTag("VersionConflict", Problems.ofConflict(headers["if-match"] !== undefined)),
          Effect.catchTags(Problems.ofExecute)
        ))
      .handle(
        "list",
        ({ urlParams }) =>
          Effect.zipRight(until("catalogue", urlParams.after), readCatalogue).pipe(Effect.catchTags(Problems.ofLists))
      )))

const OrdersLive = HttpApiBuilder.group(Api, "orders", (handlers) =>
  Effect.map(Orders, (orders) =>
    handlers
      .handle("get", ({ path }) => orders.load(path.id).pipe(Effect.catchTags(Problems.ofLoad), Effect.flatMap(show)))
      .handle("place", ({ headers, path, payload }) =>
        orders.execute(path.id, new Place(payload), optionsOf(headers)).pipe(
          Effect.flatMap(done),
          Effect.catchTag("VersionConflict", Problems.ofConflict(headers["if-match"] !== undefined)),
          Effect.catchTags(Problems.ofExecute)
        ))
      .handle(
        "list",
        ({ urlParams }) =>
          Effect.zipRight(until("orders", urlParams.after), readOrderList).pipe(Effect.catchTags(Problems.ofLists))
      )))

const OperationsLive = HttpApiBuilder.group(
  Api,
  "operations",
  (handlers) => handlers.handle("status", () => Effect.catchTags(Projections.status(), Problems.ofStatus))
)

export const ApiLive = Layer.provide(HttpApiBuilder.api(Api), [ProductsLive, OrdersLive, OperationsLive])
