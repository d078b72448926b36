// the plans of the feed's statements on a million events: each searches by an index and looks at a limited number of rows
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Effect, Layer, Stream } from "effect"
import { EventStore, Position, Sqlite, StreamId } from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import * as path from "node:path"
import { explaining } from "./postgres/setup.js"
import { migratedDatabase, sqlStores, temporaryFolder } from "./utils/backends.js"

const total = 1_000_000

// Old is common, but has no events in the second half; Rare is one in a thousand
const aggregateOf = (n: string) =>
  `CASE WHEN ${n} % 1000 = 0 THEN 'Rare' WHEN ${n} < ${total / 2} AND ${n} % 2 = 0 THEN 'Old' ` +
  `WHEN ${n} % 3 = 0 THEN 'Common' ELSE 'Agg' || (${n} % 20) END`

const others = (count: number) => Array.from({ length: count }, (_, n) => `Agg${n}`)

// all types but one in five thousand
const wellKnown = Array.from({ length: 7 }, (_, n) => `Type${n}`)

const filters: ReadonlyArray<EventStore.FeedFilter> = [
  {},
  ...["Old", "Rare", "Common", "None"].map((aggregate) => ({ aggregates: [aggregate] })),
  { aggregates: ["Old", "None"] },
  { aggregates: ["Old", "Rare", "Common"] },
  { aggregates: ["Old", ...others(15)] },
  { aggregates: ["Old", ...others(16)] },
  { aggregates: [] },
  { types: ["Type1"] },
  { types: ["None", "Rare"] },
  { aggregates: ["Old"], types: ["None"] },
  { aggregates: ["Old", "Common"], types: ["Rare", "Type2"] },
  { excludedTypes: [{ aggregate: "Old", types: wellKnown }] },
  { aggregates: ["Old"], excludedTypes: [{ aggregate: "Old", types: wellKnown }] },
  { aggregates: ["Old", "Common"], excludedTypes: [{ aggregate: "Old", types: wellKnown }] },
  { aggregates: ["Old", ...others(16)], excludedTypes: [{ aggregate: "Old", types: wellKnown }] },
  { partition: { index: 1, of: 2 }, aggregates: ["Old"], excludedTypes: [{ aggregate: "Old", types: wellKnown }] },
  { partition: { index: 3, of: 64 } },
  { partition: { index: 1, of: 2 }, aggregates: ["Old"] },
  { partition: { index: 1, of: 2 }, aggregates: ["Common"] },
  { partition: { index: 1, of: 2 }, aggregates: ["None"] },
  { partition: { index: 1, of: 2 }, types: ["None"] },
  { partition: { index: 1, of: 2 }, types: ["Rare"], aggregates: ["Old", ...others(16)] },
  { partition: { index: 1, of: 2 }, aggregates: ["Old", "Common"], types: ["Type1"] }
]

/** How many rows a search of a page may look at, at most. With several aggregates each search is rounded up. */
const mostLooked = ({ excludedTypes, partition, types }: EventStore.FeedFilter) => {
  if (types !== undefined || excludedTypes !== undefined) return 10_003
  return partition === undefined ? 2_001 : 1_003
}

/** How many events of the feed a page has passed: all those that it looked at, if it does not search by aggregate. */
const passed = (after: Position.Position, { settled }: EventStore.Page) =>
  Number(Position.toParts(settled).sequence) - Number(Position.toParts(after).sequence)

const isByAggregate = ({ aggregates }: EventStore.FeedFilter) => aggregates !== undefined && aggregates.length <= 16

/**
 * Reads a page with each filter at each place, and pages of streams, and tells `check` what it read, and how many rows of a
 * table it may look at.
 */
const each = (
  places: ReadonlyArray<Position.Position>,
  check: (what: string, most: number) => Effect.Effect<void, unknown, SqlClient.SqlClient>
) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (const after of places) {
      for (const filter of filters) {
        for (const limit of [500, 1_000]) {
          const page = yield* store.readPage({ ...filter, after, limit })
          const what = JSON.stringify({ ...filter, after, limit })
          if (!isByAggregate(filter)) assert.isAtMost(passed(after, page), mostLooked(filter), what)
          yield* check(what, mostLooked(filter))
        }
      }
    }
    for (const after of places) {
      yield* store.countAfter(after, { limit: 2_000 })
      yield* check(`count after ${after}`, 2_000)
      yield* store.countAfter(after)
      yield* check(`count after ${after}`, 10_000)
    }
    for (const aggregate of ["Old", "Rare", "None"]) {
      for (const after of [undefined, "stream-3", "zzz"]) {
        yield* store.streams({ aggregate, after, limit: 500 })
        yield* check(`streams of ${aggregate} after ${after}`, 501)
      }
    }
    yield* store.head
    yield* check("head", 1)
    // two streams that go on elsewhere, and an id that is stored
    const refused = Stream.make(
      { stream: StreamId.make("Old", "stream-2"), version: 2, type: "E", payload: 1 },
      { stream: StreamId.make("None", "stream-2"), type: "E", payload: 1 },
      { stream: StreamId.make("Old", "stream-4"), id: "id-4", type: "E", payload: 1 }
    )
    const failure = yield* Effect.flip(Stream.runDrain(store.import(refused)))
    assert.strictEqual(failure._tag, "VersionConflict")
    yield* check("import", 3)
  })

describe("pages of the feed and lists of streams, on a million events", () => {
  it.scopedLive("on PostgreSQL: by an index, and a limited number of rows, before and after ANALYZE", () =>
    Effect.gen(function*() {
      const plans: Array<string> = []
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`ALTER TABLE eventsourcing_events SET (autovacuum_enabled = off)`
        // the rows have transaction ids below those of the server
        yield* sql`UPDATE eventsourcing_cluster SET base = ${total}`
        yield* sql.unsafe(
          `INSERT INTO eventsourcing_events (transaction, version, aggregate, stream_id, event_id, type, payload, metadata)
SELECT 1 + n / 3, 1 + n / 50000, ${aggregateOf("n")}, 'stream-' || n % 50000, 'id-' || n,
  CASE WHEN n % 5000 = 1 THEN 'Rare' ELSE 'Type' || n % 7 END, '{"n":' || n || '}', '{}'
FROM generate_series(1, ${total}) AS n`
        )
        yield* sql`SET auto_explain.log_analyze = on`
        const at = (n: number) => Position.fromParts(1 + Math.floor(n / 3), n)
        const places = [Position.start, at(total * 0.6), at(total - 100)]
        const check = (what: string, most: number) =>
          Effect.sync(() => {
            const found = plans.splice(0).filter((plan) => plan.includes("eventsourcing_events"))
            assert.isAbove(found.length, 0, what)
            for (const plan of found) {
              assert.notMatch(plan, /Seq Scan on eventsourcing_events|Bitmap/, `${what}\n${plan}`)
              for (const line of plan.split("\n")) {
                const rows = /Scan.* rows=([\d.]+) loops=(\d+)\)/.exec(line)
                if (rows !== null) assert.isAtMost(Number(rows[1]) * Number(rows[2]), most, `${what}\n${plan}`)
                const removed = /Rows Removed by .*: (\d+)/.exec(line)
                if (removed !== null) assert.isAtMost(Number(removed[1]), most, `${what}\n${plan}`)
              }
            }
          })
        yield* each(places, check)
        yield* sql`ANALYZE`
        plans.length = 0
        yield* each(places, check)
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, explaining(yield* migratedDatabase, plans))))
    }))

  it.scopedLive("on SQLite: by an index of its range, before and after ANALYZE", () =>
    Effect.gen(function*() {
      const file = path.join(yield* temporaryFolder, "test.db")
      const texts: Array<string> = []
      const observed = SqlFaults.layer(SqlFaults.none, { onStatement: ({ text }) => texts.push(text) })
      const client = Sqlite.layer((config) => observed(SqliteClient.layer(config)), { filename: file })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const fill = (aggregate: string, from: number, to: number) =>
          sql.unsafe(
            `INSERT INTO eventsourcing_events (aggregate, stream_id, version, event_id, type, payload, metadata, time)
SELECT ${aggregate}, 'stream-' || (n % 50000), n, 'id-' || n,
  CASE WHEN n % 5000 = 1 THEN 'Rare' ELSE 'Type' || (n % 7) END, '{"n":' || n || '}', '{}', n
FROM (WITH RECURSIVE c(n) AS (SELECT ${from} UNION ALL SELECT n + 1 FROM c WHERE n < ${to}) SELECT n FROM c)`
          )
        const check = (what: string) =>
          Effect.sync(() => {
            const found = texts.splice(0).filter((text) => text.includes("eventsourcing_events"))
            assert.isAbove(found.length, 0, what)
            const database = new Database(file, { readonly: true })
            for (const text of found) {
              const values = Array.from(text.matchAll(/\?/g), () => "0")
              const plan = database.prepare<Array<string>, { readonly detail: string }>(
                `EXPLAIN QUERY PLAN ${text}`
              ).all(...values).map(({ detail }) => detail)
              const searches = plan.filter((line) => line.includes("eventsourcing_events"))
              assert.isAbove(searches.length, 0, what)
              const bounded = /rowid|position>\?|stream_id[>=]\?|event_id=\?|^SEARCH eventsourcing_events$/
              for (const line of searches) {
                assert.match(line, /^SEARCH /, `${what}\n${plan.join("\n")}`)
                assert.match(line, bounded, `${what}\n${plan.join("\n")}`)
                // a filter by aggregate must not follow the positions without an end
                assert.isFalse(what.includes("[\"Old\"]") && line.includes("rowid>"), `${what}\n${plan.join("\n")}`)
              }
            }
            database.close()
          })
        const places = [0, total * 0.6, total - 100].map((n) => Position.fromParts(0, n))
        // as long as there is one aggregate only, an index by aggregate looks useless
        yield* fill("'Old'", 1, total / 10)
        yield* sql`ANALYZE`
        texts.length = 0
        yield* each(places.slice(0, 1), check)
        yield* fill(aggregateOf("n"), total / 10 + 1, total)
        texts.length = 0
        yield* each(places, check)
        yield* sql`ANALYZE`
        texts.length = 0
        yield* each(places, check)
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, client)))
    }))
})
