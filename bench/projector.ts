// one of several processes that project: says where its checkpoint is and when it got there. Told "cpu 2" it says how much
// of a core it takes in two seconds
import { Effect, Layer } from "effect"
import { Projection } from "effect-eventsourcing"
import { once } from "node:events"
import * as readline from "node:readline"
import * as ReadModel from "./readModel.js"

const { database, isWoken, name, partitions }: {
  readonly database: string
  readonly name: string
  /** 0 for none: only the stores. */
  readonly partitions: number
  readonly isWoken: boolean
} = JSON.parse(process.argv[2])

// all processes of a machine have this clock
const onAdvance = (to: string) => console.log(`at ${to} ${process.hrtime.bigint()}`)

const runtime = ReadModel.open(database, { onAdvance, isWoken })

const measured = async (seconds: number) => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
  const { system, user } = process.cpuUsage(cpu)
  return (system + user) / 10 / (performance.now() - start)
}

const live = partitions === 0
  ? Layer.empty
  : Projection.layer(ReadModel.projection(name, database), { partitions })

await runtime.runPromise(Effect.scoped(Effect.gen(function*() {
  yield* Layer.build(live)
  const input = readline.createInterface({ input: process.stdin })
  input.on("line", async (line) => console.log(`cpu ${await measured(Number(line.split(" ")[1]))}`))
  console.log("ready")
  yield* Effect.promise(() => once(input, "close"))
})))
await runtime.dispose()
console.log("closed")
