// npm run cluster             starts the shop on three runners and a front, by default at 127.0.0.1:3000
// npm run cluster:chaos       puts load on the front, and kills and freezes runners meanwhile
//
// Both use the PostgreSQL database of DATABASE_URL, or start a server for as long as they run.
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { chaos } from "./chaos.js"
import { endWithParent } from "./processes.js"
import { FrontLive, RunnerLive } from "./roles.js"
import { serve } from "./serve.js"

const launch = <A, E>(layer: Layer.Layer<A, E>) =>
  NodeRuntime.runMain(Effect.raceFirst(Layer.launch(layer), endWithParent))

const [role, ...args] = process.argv.slice(2)
switch (role) {
  case "runner":
    launch(RunnerLive)
    break
  case "front":
    launch(FrontLive)
    break
  case "chaos":
    NodeRuntime.runMain(Effect.scoped(chaos(args)))
    break
  case undefined:
    NodeRuntime.runMain(Effect.scoped(serve))
    break
  default:
    NodeRuntime.runMain(Console.error("npm run cluster, or npm run cluster:chaos"))
}
