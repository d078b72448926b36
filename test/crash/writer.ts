// executes commands as fast as it can and says of each what became of it, until it is killed or told to stop
import type { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Option, Redacted, Schedule } from "effect"
import { Event, Repository, SnapshotPolicy, Sqlite, SqlStores } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import { PCGRandom } from "effect/Utils"
import * as fs from "node:fs"
import * as readline from "node:readline"
import { Account, id } from "../fixtures/Account.js"
import { eventId, type Orders, type Said } from "./protocol.js"

const orders: Orders = JSON.parse(process.argv[2])

// straight into the pipe: what is said is out before anything else happens
const say = (line: Said) => fs.writeSync(1, `${JSON.stringify(line)}\n`)

let paused = false
let busy = 0
const go = Effect.unsafeMakeLatch(false)
const input = readline.createInterface({ input: process.stdin })
input.on("line", (line) => {
  if (line === "stop") process.exit(0)
  paused = line === "pause"
  if (!paused) return go.unsafeOpen()
  go.unsafeClose()
  // otherwise the last one to end says so
  if (busy === 0) say({ _tag: "Paused" })
})
// whoever started this is gone
input.on("close", () => process.exit(0))

const random = new PCGRandom(orders.seed)
const below = (n: number) => Math.floor(random.number() * n)
const streamOf = () => `s${below(3) === 0 ? below(3) : below(orders.streams)}`

// the appends of the open transaction of SQLite
let appends = 0
const watched = SqlFaults.layer(SqlFaults.none, {
  onStatement: ({ kind, text, transaction }) => {
    if (/append_many/.test(text)) say({ _tag: "Group", appends: 2 })
    if (kind === "Begin") appends = 0
    if (transaction !== undefined && /^\s*INSERT INTO "eventsourcing_events"/.test(text)) appends++
    if (kind === "Commit" && appends > 1) say({ _tag: "Group", appends })
  }
})

const client: Layer.Layer<SqlClient.SqlClient, unknown> = orders.backend === "sqlite"
  ? Sqlite.layer((config: SqliteClient.SqliteClientConfig) => watched(SqliteClient.layer(config)), {
    filename: orders.target,
    synchronous: orders.synchronous
  })
  : watched(PgClient.layer({ url: Redacted.make(orders.target), maxConnections: orders.connections }))

const stores = SqlStores.layer.pipe(Layer.provide(client))

const reason = (error: unknown) => error instanceof Error ? error.message : String(error)

let commands = 0

const program = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, {
    snapshots: SnapshotPolicy[orders.mode]({ every: 3 }),
    retry: Schedule.forever
  })

  const execute = (stream: string, command: Parameters<typeof accounts.execute>[1], of: number) => {
    const name = `${orders.name}.${++commands}`
    let n = 0
    return accounts.execute(id(stream), command).pipe(
      Effect.provideService(Event.IdGenerator, Effect.sync(() => eventId(name, of, ++n))),
      Effect.exit,
      Effect.map((exit) => {
        if (Exit.isSuccess(exit)) {
          const { events, version } = exit.value
          say({ _tag: "Ok", command: name, stream, from: version - events.length + 1, to: version })
          return true
        }
        const failure = Cause.failureOption(exit.cause)
        if (Option.isSome(failure) && failure.value._tag === "EventStoreError") {
          say({
            _tag: failure.value.mayHaveAppended ? "Maybe" : "No",
            command: name,
            error: reason(failure.value)
          })
        } else if (Option.isSome(failure) && failure.value._tag === "NotOpen") {
          return false
        } else say({ _tag: "Bad", problem: `${name}: ${Cause.pretty(exit.cause)}` })
        return true
      })
    )
  }

  const once = Effect.gen(function*() {
    const stream = streamOf()
    if (below(5) === 0) {
      const exit = yield* Effect.exit(accounts.load(id(stream)))
      if (Exit.isSuccess(exit)) {
        const { state, version } = exit.value
        // every event after the first deposits 1
        if (version > 0 && state.balance !== version - 1) {
          say({ _tag: "Bad", problem: `${stream} at ${version} has ${state.balance}` })
        }
      } else {
        const failure = Cause.failureOption(exit.cause)
        if (Option.isSome(failure) && failure.value._tag === "EventStoreError") {
          say({ _tag: "No", command: "", error: reason(failure.value) })
        } else say({ _tag: "Bad", problem: `load of ${stream}: ${Cause.pretty(exit.cause)}` })
      }
      return
    }
    const times = 1 + below(3)
    const isOpen = yield* execute(stream, { _tag: "Deposit", amount: 1, times }, times)
    if (!isOpen) yield* execute(stream, { _tag: "Open" }, 1)
  })

  const turn = Effect.suspend(() => {
    busy++
    return Effect.ensuring(
      once,
      Effect.sync(() => {
        busy--
        if (busy === 0 && paused) say({ _tag: "Paused" })
      })
    )
  })

  const one = go.await.pipe(
    // a fiber that was woken just before a pause waits again
    Effect.zipRight(Effect.suspend(() => paused ? Effect.void : turn)),
    Effect.zipRight(Effect.yieldNow()),
    Effect.forever
  )
  yield* Effect.all(Array.from({ length: orders.fibers }, () => one), { concurrency: "unbounded" })
})

say({ _tag: "Ready" })
// a server that ends while the tables are made is a typed error too, and the next try finds what the first one left
const started: Effect.Effect<void, unknown> = Effect.provide(Effect.scoped(program), stores).pipe(
  Effect.retry(Schedule.spaced("50 millis"))
)
Effect.runFork(
  go.await.pipe(
    Effect.zipRight(started),
    Effect.tapErrorCause((cause) => Effect.sync(() => say({ _tag: "Bad", problem: Cause.pretty(cause) }))),
    Logger.withMinimumLogLevel(LogLevel.None)
  )
)
