// The HTTP server of the shop. It needs the repositories and the database.
import { HttpApiBuilder, HttpApiSwagger, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { createServer } from "node:http"
import { ApiLive } from "./handlers.js"

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

export const HttpLive = HttpApiBuilder.serve().pipe(
  Layer.provide(HttpApiSwagger.layer({ path: "/docs" })),
  Layer.provide(HttpApiBuilder.middlewareOpenApi({ path: "/openapi.json" })),
  Layer.provide(ApiLive),
  HttpServer.withLogAddress,
  Layer.provide(ServerLive)
)
