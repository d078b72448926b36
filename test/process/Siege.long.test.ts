// three processes append and project while they are killed and frozen, and their connections are cut; an event cannot be
// handled; and the read model is rebuilt and promoted meanwhile. At the end it is the fold of the feed.
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Random, Schedule, Stream } from "effect"
import { EventStore, ExpectedVersion, type Position, Projection, Projections } from "effect-eventsourcing"
import { event, stream } from "../fixtures/Account.js"
import { processOn } from "../projection/databases.js"
import { sharedDatabases } from "../utils/backends.js"
import { balances, options, poison } from "../utils/balances.js"
import { start } from "../utils/process.js"

// more of them by SIEGE_ROUNDS
const rounds = Number(process.env.SIEGE_ROUNDS ?? 4)

type Besieged = ReturnType<typeof start>

const begin = (database: string, versions: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const partitions = 1 + (yield* Random.nextIntBetween(0, 4))
    const started = start("test/utils/besieged.ts", [JSON.stringify({ database, partitions, versions })])
    yield* Effect.promise(() => started.line("ready"))
    return started
  })

/** Waits for some more appends of a process. */
const appends = ({ lines, next }: Besieged, more: number) =>
  Effect.suspend(() => {
    const enough = lines.length + more
    return Effect.promise(() => next(() => lines.length >= enough))
  })

const cutConnections = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql.onDialectOrElse({
    pg: () =>
      Effect.asVoid(sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5`),
    orElse: () => Effect.void
  }))

/** Does something bad to one of the processes. */
const attack = (running: Array<Besieged>, again: Effect.Effect<Besieged>) =>
  Effect.gen(function*() {
    const which = yield* Random.nextIntBetween(0, running.length)
    const victim = running[which]
    yield* Effect.timeoutOption(appends(victim, yield* Random.nextIntBetween(1, 60)), "10 seconds")
    const kind = yield* Random.nextIntBetween(0, 4)
    if (kind === 0) yield* cutConnections
    if (kind === 1) {
      victim.child.kill("SIGSTOP")
      yield* Effect.sleep("1500 millis")
      victim.child.kill("SIGCONT")
    }
    if (kind < 2) return
    victim.child.kill("SIGKILL")
    yield* Effect.promise(() => victim.exited)
    running[which] = yield* again
  })

const siege = (database: string) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const all: Array<Besieged> = []
    const beginning = (versions: ReadonlyArray<number>) =>
      Effect.tap(begin(database, versions), (one) => Effect.sync(() => void all.push(one)))
    const running = yield* Effect.forEach([0, 1, 2], () => beginning([1]))
    for (let round = 0; round < rounds; round++) {
      const versions = round < rounds / 4 ? [1] : [1, 2]
      yield* attack(running, beginning(versions))
      if (round === Math.ceil(rounds / 6)) {
        yield* store.append(stream("account 3"), [event(poison)], { expectedVersion: ExpectedVersion.any })
      }
      if (round === Math.ceil(rounds / 4)) running.push(yield* beginning([1, 2]))
      if (round === Math.ceil(rounds / 2)) {
        yield* Effect.retry(Projections.promote({ name: "balances", version: 2 }, { timeout: "20 seconds" }), {
          schedule: Schedule.spaced("100 millis"),
          while: ({ _tag }) => _tag !== "SubscriptionMismatch"
        })
      }
    }
    for (const one of running) one.child.stdin.end()
    yield* Effect.promise(() => Promise.all(running.map(({ exited }) => exited)))
    return all.flatMap(({ lines }) => lines).flatMap((line) => line.startsWith("acknowledged ") ? [line.slice(13)] : [])
  })

/** Waits as long as both versions advance, however slow the machine is. */
const caughtUp = (position: Position.Position): Effect.Effect<void, unknown, EventStore.EventStore | Services> =>
  Effect.catchTag(
    Projections.awaitPosition("balances", position, { timeout: "1 minute" }),
    "AwaitTimeout",
    (late) => Effect.zipRight(Effect.logWarning(late.message), caughtUp(position))
  )

type Services = Effect.Effect.Context<ReturnType<typeof Projections.awaitPosition>>

interface Row {
  readonly account: string
  readonly balance: number
  readonly last: number
}

const rowsOf = (version: number) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      Effect.map(sql<Row>`SELECT account, balance, last FROM ${sql(`balances_${version}`)}`, (rows) =>
        Object.fromEntries(rows.map(({ account, balance, last }) => [account, [Number(balance), Number(last)]])))
  )

const folded = Effect.gen(function*() {
  const { readAll } = yield* EventStore.EventStore
  const ids: Array<string> = []
  const rows: Record<string, [number, number]> = {}
  for (const { id, payload, stream, version } of yield* Stream.runCollect(readAll())) {
    ids.push(id)
    const [balance] = rows[stream.id] ?? [0, 0]
    rows[stream.id] = [balance + Number(Reflect.get(Object(payload), "amount") ?? 0), version]
  }
  return { ids: new Set(ids), rows }
})

describe("processes under siege", () => {
  for (const [name, target, client] of sharedDatabases) {
    it.scopedLive(`keep a read model that is the fold of the feed (${name})`, () =>
      Effect.gen(function*() {
        const database = yield* target
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          for (const version of [1, 2]) {
            const table = sql(`balances_${version}`)
            yield* sql`CREATE TABLE ${table} (account TEXT PRIMARY KEY, balance INTEGER, last INTEGER)`
          }
          const acknowledged = yield* siege(database)
          assert.strictEqual(yield* Projections.activeVersion("balances"), 2)
          const { ids, rows } = yield* folded
          assert.deepStrictEqual(acknowledged.filter((id) => !ids.has(id)), [], "acknowledged and lost")
          const repaired = [1, 2].map((version) => balances(version, { isRepaired: true }))
          yield* Effect.forEach(repaired, (projection) => Layer.build(Projection.layer(projection, options)))
          const { head } = yield* EventStore.EventStore
          yield* caughtUp(yield* head)
          const ends = yield* Effect.forEach(repaired, (projection) => Projections.retryParked(projection))
          assert.deepStrictEqual(ends.map(({ failed }) => failed), [[], []])
          assert.isTrue(ends.every(({ handled }) => handled > 0), "the poison was parked")
          assert.deepStrictEqual(yield* rowsOf(2), rows)
          // the old version is kept up to date, for a way back
          yield* Projections.promote({ name: "balances", version: 1 })
          assert.deepStrictEqual(yield* rowsOf(1), rows)
        }).pipe(Effect.provide(processOn(client(database))))
      }), 1_200_000)
  }
})
