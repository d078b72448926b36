// sends commands with ids to shared accounts, as one of several processes that send the same commands
import type { SqlClient } from "@effect/sql"
import { Effect, Layer, Schedule } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import * as fs from "node:fs"
import { Account, id } from "../fixtures/Account.js"
import { pgClient } from "./postgres.js"
import { accountOf, commandOf, type Orders } from "./sendings.js"
import { sqliteFile, sqlStores } from "./stores.js"

const orders: Orders = JSON.parse(process.argv[2])

// written at once: an answer that was printed was given, even if the process is killed next
const say = (line: string) => fs.writeSync(1, `${line}\n`)

const random = new PCGRandom(orders.seed)

const shuffled = (numbers: ReadonlyArray<number>): Array<number> => {
  const result = [...numbers]
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random.number() * (last + 1))
    const moved = result[last]
    result[last] = result[other]
    result[other] = moved
  }
  return result
}

const program = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, {
    snapshots: SnapshotPolicy.sync({ every: 5 }),
    retry: Schedule.forever
  })
  const waiting = shuffled(orders.numbers)

  // a command that the account refuses waits for those that it needs
  const send = (number: number) =>
    accounts.execute(id(accountOf(number)), commandOf(number), { commandId: `command ${number}` }).pipe(
      Effect.matchEffect({
        onSuccess: ({ duplicate, version }) => Effect.sync(() => say(`done ${number} ${version} ${duplicate};`)),
        onFailure: (error) =>
          error._tag === "NotOpen" || error._tag === "InsufficientFunds"
            ? Effect.sync(() => waiting.push(number))
            : error._tag === "EventStoreError" && error.reason === "Unavailable"
            ? Effect.sync(() => waiting.push(number))
            : Effect.fail(error)
      })
    )

  const one = Effect.suspend(() => {
    const number = waiting.shift()
    return number === undefined ? Effect.succeed(false) : Effect.as(send(number), true)
  })
  const sender = Effect.repeat(Effect.zipLeft(one, Effect.yieldNow()), { while: (more) => more })
  yield* Effect.replicateEffect(sender, 4, { concurrency: "unbounded", discard: true })
  // what a fiber put back after the others had ended
  yield* sender
}).pipe(Effect.scoped)

const client: Layer.Layer<SqlClient.SqlClient, unknown> = orders.database.startsWith("postgres://")
  ? pgClient(orders.database, { maxConnections: 4 })
  : sqliteFile(orders.database)

await Effect.runPromise(Effect.provide(program, Layer.provide(sqlStores, client)))
