// a runner of the cluster, until it is killed, or its input ends
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Logger, LogLevel } from "effect"
import { SqlStores } from "effect-eventsourcing"
import * as fs from "node:fs"
import { pgClient } from "../../utils/postgres.js"
import type { RunnerOrders } from "./protocol.js"
import { entitiesOf, runnerOf, storesPrefix } from "./settings.js"

const { database, port, settings }: RunnerOrders = JSON.parse(process.argv[2])

// the process that started this one is gone
process.stdin.resume().on("close", () => process.exit(0))

const runner = entitiesOf(settings).pipe(
  Layer.provide(runnerOf(settings, port)),
  Layer.provide(SqlStores.layerWith(storesPrefix)),
  Layer.provide(pgClient(database, { maxConnections: 8 }))
)

NodeRuntime.runMain(
  Layer.build(runner).pipe(
    Effect.zipRight(Effect.sync(() => fs.writeSync(1, "ready\n"))),
    Effect.zipRight(Effect.never),
    Effect.scoped,
    Logger.withMinimumLogLevel(process.env.CRASH_LOG === undefined ? LogLevel.None : LogLevel.Warning)
  ),
  { disableErrorReporting: true }
)
