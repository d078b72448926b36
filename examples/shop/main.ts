// npm run service               serves the shop on HOST and PORT, by default 127.0.0.1:3000
// npm run service -- rebuild    switches to version 2 of the catalogue, while the service runs
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { DatabaseLive } from "./database.js"
import { HttpLive } from "./http.js"
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

// a layer is closed before those that it was provided with: first the server, then the readers, then the database
const ServiceLive = HttpLive.pipe(
  Layer.provide(ReadersLive),
  Layer.provide(RepositoriesLive),
  Layer.provide(DatabaseLive),
  Layer.provide(TelemetryLive)
)

if (process.argv[2] === "rebuild") NodeRuntime.runMain(Effect.provide(rebuild, DatabaseLive))
else NodeRuntime.runMain(Layer.launch(ServiceLive))
