// what retention costs on many events, and what several processes do together on one database
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, TestClock } from "effect"
import { EventStore, ExpectedVersion, Retention, Sqlite, SqlStores, Streams } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as path from "node:path"
import { event, stream } from "./fixtures/Account.js"
import { explaining } from "./postgres/setup.js"
import { migratedDatabase, sharedDatabases, sqlStores, temporaryFolder } from "./utils/backends.js"

const policies = {
  snapshots: { aggregates: [{ name: "Account", schemaVersion: 2 }] },
  tombstones: { olderThan: "30 days" },
  parked: { olderThan: "30 days" }
} as const

const total = 300_000

/** Runs an effect with a clock that is 31 days ahead. */
const inAMonth = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.clockWith((clock) => {
    const ahead = () => clock.unsafeCurrentTimeMillis() + 31 * 86_400_000
    return Effect.withClock(effect, {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: ahead,
      currentTimeMillis: Effect.sync(ahead),
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
      currentTimeNanos: clock.currentTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    })
  })

/** Half of the snapshots are of an old schema version, in one aggregate of two. */
const snapshots = (numbers: string) =>
  `INSERT INTO eventsourcing_snapshots (time, version, schema_version, aggregate, stream_id, event_id, fingerprint, state)
SELECT 1, 1, 1 + n % 2, CASE WHEN n % 50 = 0 THEN 'Account' ELSE 'Other' END, 'stream-' || n, 'e', 'f', '{}' ${numbers}`

const removing = (text: string, count: number) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const streams = yield* Streams.Streams
    for (let n = 0; n < count; n++) {
      const ended = stream(`${text}${n}`)
      yield* store.append(ended, [event(), event()], { expectedVersion: ExpectedVersion.any })
      yield* streams.delete(ended, { events: "keep" })
    }
  })

describe(`retention on ${total} events`, () => {
  it.scopedLive("searches by indexes, and looks at few rows, before and after ANALYZE (PostgreSQL)", () =>
    Effect.gen(function*() {
      const plans: Array<string> = []
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`ALTER TABLE eventsourcing_events SET (autovacuum_enabled = off)`
        yield* sql`UPDATE eventsourcing_cluster SET base = ${total}`
        yield* sql.unsafe(
          `INSERT INTO eventsourcing_events (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT 1 + n / 3, 1 + n / 50000, 'Account', 'stream-' || n % 50000, 'id-' || n, 'Deposited', '{}', '{}'
FROM generate_series(1, ${total}) AS n`
        )
        yield* sql.unsafe(snapshots("FROM generate_series(1, 20000) AS n"))
        let analyzed = false
        const pass = Effect.gen(function*() {
          plans.length = 0
          const report = yield* inAMonth(Retention.run(policies, { pause: 0, limit: 50 }))
          const found = plans.filter((plan) => /eventsourcing_(events|snapshots)/.test(plan))
          assert.isAbove(found.length, 0)
          for (const plan of found) {
            assert.notMatch(plan, /Seq Scan on eventsourcing_(events|snapshots)(?!.*never executed)/, plan)
          }
          // without statistics the snapshots that may go are sorted
          for (const plan of found.filter((plan) => analyzed || !/DELETE FROM "eventsourcing_snapshots"/.test(plan))) {
            for (const line of plan.split("\n")) {
              const rows = /Scan.* rows=([\d.]+) loops=(\d+)\)/.exec(line)
              if (rows !== null) assert.isAtMost(Number(rows[1]) * Number(rows[2]), 200, plan)
              const removed = /Rows Removed by .*: (\d+)/.exec(line)
              if (removed !== null) assert.isAtMost(Number(removed[1]), 200, plan)
            }
          }
          return { report, statements: found.length }
        })
        yield* sql`SET auto_explain.log_analyze = on`
        for (const analyzes of [false, true]) {
          yield* removing(`a${analyzes}`, 60)
          if (analyzes) {
            yield* sql.unsafe(snapshots("FROM generate_series(100001, 120000) AS n"))
            yield* sql`ANALYZE`
          }
          analyzed = analyzes
          const { report } = yield* pass
          assert.deepStrictEqual(report.tombstones, { streams: 60, removed: 180, heldBackBy: [] })
          assert.deepStrictEqual(report.snapshots, { removed: 400 })
          const nothing = yield* pass
          assert.isAtMost(nothing.statements, 3)
        }
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, explaining(yield* migratedDatabase, plans))))
    }))

  it.scopedLive("searches by indexes, with a handful of statements if there is nothing (SQLite)", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "test.db")
      const texts: Array<string> = []
      const observed = SqlFaults.layer(SqlFaults.none, { onStatement: ({ text }) => texts.push(text) })
      const client = Sqlite.layer((config) => observed(SqliteClient.layer(config)), { filename: file })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const numbers = (to: number) =>
          `FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ${to}) SELECT n FROM c)`
        yield* sql.unsafe(
          `INSERT INTO eventsourcing_events (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT 'Account', 'stream-' || (n % 50000), n, 'id-' || n, 'Deposited', '{}', '{}', n ${numbers(total)}`
        )
        yield* sql.unsafe(snapshots(numbers(20_000)))
        const pass = Effect.gen(function*() {
          texts.length = 0
          const report = yield* inAMonth(Retention.run(policies, { pause: 0, limit: 50 }))
          return { report, texts: texts.splice(0) }
        })
        for (const analyzes of [false, true]) {
          yield* removing(`a${analyzes}`, 60)
          if (analyzes) yield* sql`ANALYZE`
          const { report, texts: run } = yield* pass
          assert.deepStrictEqual(report.tombstones, { streams: 60, removed: 180, heldBackBy: [] })
          assert.deepStrictEqual(report.snapshots, { removed: analyzes ? 0 : 400 })
          for (const text of new Set(run.filter((text) => /eventsourcing_(events|snapshots)/.test(text)))) {
            const plan = yield* sql.unsafe<{ readonly detail: string }>(
              `EXPLAIN QUERY PLAN ${text}`,
              Array.from(text.matchAll(/\?/g), () => "0")
            )
            for (const { detail } of plan) assert.notMatch(detail, /^SCAN (eventsourcing|marker|other)/, text)
            const lists = plan.map(({ detail }) => detail).filter((detail) => detail.startsWith("SEARCH marker"))
            for (const detail of lists) assert.include(detail, "eventsourcing_events_deleted", text)
          }
          const nothing = yield* pass
          assert.isAtMost(nothing.texts.length, 5, nothing.texts.join("\n"))
        }
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, client)))
    }))
})

describe("retention of several processes", () => {
  for (const [name, target, client] of sharedDatabases) {
    it.scoped(`removes each stream once, while ids begin again and passes are killed (${name})`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(Date.now())
        const database = yield* target
        const process = Layer.fresh(Layer.provide(SqlStores.layer, client(database)))
        const processes = yield* Effect.replicateEffect(Layer.build(process), 3)
        const ids = Array.from({ length: 40 }, (_, n) => `s${n}`)
        const append = (text: string, count: number, expectedVersion = ExpectedVersion.any) =>
          Effect.flatMap(
            EventStore.EventStore,
            (store) => store.append(stream(text), Array.from({ length: count }, event), { expectedVersion })
          )
        yield* Effect.forEach(ids, (text, n) =>
          Effect.zipRight(
            append(text, n % 7 + 1),
            Effect.flatMap(Streams.Streams, (streams) => streams.delete(stream(text), { events: "keep" }))
          ), { discard: true }).pipe(Effect.provide(processes[0]))
        yield* TestClock.adjust("31 days")
        const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        // the file may be locked for longer than a connection waits, on a machine with much to do
        const pass = Effect.retry(Retention.run({ tombstones: policies.tombstones }, { pause: 0, limit: 5 }), {
          times: 10
        })
        // a process that is killed again and again
        const killed = Effect.gen(function*() {
          const fiber = yield* Effect.fork(pass)
          yield* Effect.repeatN(turn, 10)
          yield* Fiber.interrupt(fiber)
        }).pipe(Effect.repeatN(5), Effect.provide(processes[0]))
        const beginning = Effect.forEach(ids, (text) =>
          append(text, 3, ExpectedVersion.noStream).pipe(
            Effect.tapError(() => turn),
            Effect.retry({ while: ({ _tag }) => _tag === "StreamDeleted" })
          ), { concurrency: 4 }).pipe(Effect.provide(processes[2]))
        yield* Effect.all([
          killed,
          Effect.provide(Effect.repeatN(Effect.zipRight(turn, pass), 20), processes[1]),
          Effect.provide(Effect.repeatN(Effect.zipRight(turn, pass), 20), processes[2]),
          beginning
        ], { concurrency: "unbounded" })
        const left = yield* Effect.forEach(
          ids,
          (text) => Effect.flatMap(EventStore.EventStore, (store) => store.readEvents(stream(text), { limit: 10 }))
        ).pipe(
          Effect.provide(processes[1])
        )
        for (const events of left) assert.deepStrictEqual(events.map(({ version }) => version), [1, 2, 3])
      }))
  }
})
