// a runner of a cluster in a process of its own, until its input ends
import { Effect, Layer } from "effect"
import { once } from "node:events"
import * as readline from "node:readline"
import { runner, type Settings } from "./clusters.js"
import { storesOn } from "./postgres.js"

const { database, port, ...settings }: Settings & { readonly database: string; readonly port: number } = JSON.parse(
  process.argv[2]
)

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  yield* Layer.build(Layer.provide(runner(settings, port), storesOn(database, { prepared: false })))
  console.log("ready")
  yield* Effect.promise(() => once(readline.createInterface({ input: process.stdin }), "close"))
})))
process.exit()
