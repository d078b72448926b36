// npm run service               serves the shop on HOST and PORT, by default 127.0.0.1:3000
// npm run service -- rebuild    switches to version 2 of the catalogue, while the service runs
import { HttpApiBuilder, HttpApiSwagger, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { createServer } from "node:http"
import { DatabaseLive } from "./database.js"
import { ApiLive } from "./handlers.js"
import { Order, Orders } from "./order.js"
import { Product, Products } from "./product.js"
import { readers } from "./readers.js"
import { rebuild } from "./rebuild.js"
import { TelemetryLive } from "./telemetry.js"

const RepositoriesLive = Layer.merge(
  Repository.layer(Products, Product, { snapshots: SnapshotPolicy.background({ every: 100 }) }),
  Repository.layer(Orders, Order)
)

const ReadersLive = Layer.unwrapEffect(
  Effect.map(Config.withDefault(Config.literal(1, 2)("RELEASE"), 2), readers)
)

/** A server that ends when the requests in progress have been answered, or after ten seconds. */
const ServerLive = Layer.unwrapScoped(Effect.gen(function*() {
  const port = yield* Config.withDefault(Config.integer("PORT"), 3000)
  // a container needs 0.0.0.0
  const host = yield* Config.withDefault(Config.string("HOST"), "127.0.0.1")
  const server = createServer()
  const closing = Effect.sync(() => {
    // a connection that is kept alive would hold the server up
    setInterval(() => server.closeIdleConnections(), 50).unref()
    setTimeout(() => server.closeAllConnections(), 10_000).unref()
  })
  return Layer.scopedDiscard(Effect.addFinalizer(() => closing)).pipe(
    Layer.provideMerge(NodeHttpServer.layer(() => server, { port, host }))
  )
}))

const HttpLive = HttpApiBuilder.serve().pipe(
  Layer.provide(HttpApiSwagger.layer({ path: "/docs" })),
  Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" })),
  Layer.provide(ApiLive),
  HttpServer.withLogAddress,
  Layer.provide(ServerLive)
)

// a layer is closed before those that it was provided with: first the server, then the readers, then the database
const ServiceLive = HttpLive.pipe(
  Layer.provide(ReadersLive),
  Layer.provide(RepositoriesLive),
  Layer.provide(DatabaseLive),
  Layer.provide(TelemetryLive)
)

if (process.argv[2] === "rebuild") NodeRuntime.runMain(Effect.provide(rebuild, DatabaseLive))
else NodeRuntime.runMain(Layer.launch(ServiceLive))
