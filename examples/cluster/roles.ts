// The two kinds of processes: a runner, and a front that serves HTTP. The program of the shop is the same in both.
import { Config, Effect, Layer } from "effect"
import { SqlCluster } from "effect-eventsourcing/cluster"
import { DatabaseLive } from "../shop/database.js"
import { HttpLive } from "../shop/http.js"
import { readers } from "../shop/readers.js"
import { EntitiesLive, RepositoriesLive } from "./entities.js"
import { settings } from "./settings.js"

const RunnerClusterLive = Layer.unwrapEffect(
  Effect.map(
    Config.all({ settings, port: Config.integer("RUNNER_PORT") }),
    ({ port, settings }) => SqlCluster.layerRunner({ ...settings, address: { host: "127.0.0.1", port } })
  )
)

const FrontClusterLive = Layer.unwrapEffect(Effect.map(settings, (settings) => SqlCluster.layerClient(settings)))

/** Has a share of the entities, and of the read models and the process manager, which divide them by their leases. */
export const RunnerLive = readers(2).pipe(
  Layer.provide(RepositoriesLive),
  Layer.provideMerge(EntitiesLive),
  Layer.provide(RunnerClusterLive),
  Layer.provide(DatabaseLive)
)

/** Has no entities: it calls those of the runners. */
export const FrontLive = HttpLive.pipe(
  Layer.provide(RepositoriesLive),
  Layer.provide(FrontClusterLive),
  Layer.provide(DatabaseLive)
)
