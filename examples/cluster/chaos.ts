// Puts load on the front over HTTP, signals one runner after another, and prints what happened.
import { EntityId, Sharding } from "@effect/cluster"
import { PgClient } from "@effect/sql-pg"
import { Console, Duration, Effect, Layer, Redacted } from "effect"
import { SqlStores } from "effect-eventsourcing"
import { SqlCluster } from "effect-eventsourcing/cluster"
import { parseArgs } from "node:util"
import { check } from "./check.js"
import * as Faults from "./faults.js"
import * as Load from "./load.js"
import { settings, shards } from "./settings.js"
import * as Topology from "./topology.js"

const kinds: Readonly<Record<string, Faults.Kind>> = { term: "SIGTERM", kill: "SIGKILL", stop: "SIGSTOP" }

const parse = (args: ReadonlyArray<string>) => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      faults: { type: "string", default: "term,kill,stop" },
      customers: { type: "string", default: "8" },
      /** Between two orders of a customer, in milliseconds. */
      pause: { type: "string", default: "20" },
      verbose: { type: "boolean", default: false }
    }
  })
  return {
    faults: values.faults.split(",").flatMap((name) => kinds[name] ?? []),
    customers: Number(values.customers),
    pause: Number(values.pause),
    verbose: values.verbose
  }
}

/** The id of an order in each shard. */
const probes = Effect.map(Sharding.Sharding, ({ getShardId }) => {
  const found = new Map<string, string>()
  for (let n = 0; found.size < shards; n++) {
    const id = `probe-${n}`
    found.set(String(getShardId(EntityId.make(id), "default")), id)
  }
  return found
})

const seconds = (millis: number) => `${(millis / 1000).toFixed(1)} s`

/** What the settings promise, and whether it was so. */
const verdictOf = ({ kind, part, recovered }: Faults.Outcome, bound: number) =>
  kind === "SIGTERM"
    ? { isKept: part.failed === 0, promise: "no failed request" }
    : { isKept: recovered <= bound, promise: `served again within ${seconds(bound)}` }

const report = ({ failed, failures, requests, slowest }: Load.Part) =>
  `${requests} requests, ${failed} failed, the slowest took ${seconds(slowest)}` +
  Array.from(failures, (failure) => `\n    ${failure}`).join("")

/** Prints what happened. Gives whether every promise was kept. */
const summarize = (outcomes: ReadonlyArray<Faults.Outcome>, bound: number) =>
  Effect.map(
    Effect.forEach(outcomes, (outcome) => {
      const { isKept, promise } = verdictOf(outcome, bound)
      const line = `${outcome.part.name}: ${report(outcome.part)}; ${promise}: ${isKept ? "yes" : "NO"}`
      return Effect.as(Console.log(line), isKept)
    }),
    (kept) => kept.every((isKept) => isKept)
  )

/** Fails if a promise was not kept, or if an order does not stand as it should. */
export const chaos = (args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { customers, faults, pause, verbose } = parse(args)
    const own = yield* settings
    let victim = ""
    let dropped = 0
    const topology = yield* Topology.start((name, line) => {
      // a runner that cannot renew its locks in time gives its shards away
      if (name !== victim && line.includes("Shard lock storage is unhealthy")) dropped++
      if (verbose) console.error(`${name}: ${line}`)
    })
    const database = yield* Layer.build(Layer.provideMerge(
      SqlStores.layer,
      PgClient.layer({ url: Redacted.make(topology.database), maxConnections: 4 })
    ))
    const ids = yield* probes.pipe(Effect.provide(SqlCluster.layerClient(own)), Effect.provide(database))
    yield* Console.log(`Three runners and a front at ${topology.url}, ${customers} customers`)

    const load = yield* Load.start(topology.url, { customers, pause })
    const quiet = yield* load.begin("Before")
    yield* Effect.sleep("3 seconds")
    const outcomes: Array<Faults.Outcome> = []
    for (const [n, kind] of faults.entries()) {
      const runner = topology.runners[n % topology.runners.length]
      victim = runner.name
      const outcome = yield* Faults.inflict(topology, load, ids, kind, runner)
      outcomes.push(outcome)
      yield* Console.log(
        `${outcome.part.name}: ` + (outcome.ended === undefined ? "" : `ended after ${seconds(outcome.ended)}, `) +
          `all of them served again after ${seconds(outcome.recovered)}`
      )
      yield* Effect.sleep("2 seconds")
      victim = ""
    }
    yield* load.finish

    yield* Console.log(`\n${quiet.name}: ${report(quiet)}`)
    const isKept = yield* summarize(outcomes, Duration.toMillis(own.lockExpiration) + 2_000)
    yield* Console.log(`Runners that lost their shards although they lived: ${dropped}`)
    const problems = yield* Effect.provide(check(load.orders), database)
    for (const problem of problems.slice(0, 20)) yield* Console.log(`  ${problem}`)
    const acknowledged = load.orders.filter(({ acknowledged }) => acknowledged).length
    yield* Console.log(
      problems.length === 0
        ? `Each of ${acknowledged} acknowledged orders stands once`
        : `${problems.length} problems with ${acknowledged} acknowledged orders`
    )
    if (!isKept || problems.length > 0) return yield* Effect.fail(new Error("not all is as it should be"))
  })
