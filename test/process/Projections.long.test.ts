// processes project and append side by side, are killed, frozen and started again: each event counts once
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Layer, Random, Stream } from "effect"
import { EventStore, type Position, Projections, SqlCheckpointStore } from "effect-eventsourcing"
import { sharedDatabases, sqlStores } from "../utils/backends.js"
import { start } from "../utils/process.js"

const kills = Number(process.env.PROJECTION_KILLS ?? 12)

type Projector = ReturnType<typeof start>

const projector = (database: string, isWriter: boolean) =>
  Effect.gen(function*() {
    // the number of partitions changes with the processes
    const partitions = 1 + (yield* Random.nextIntBetween(0, 3))
    const started = start("test/utils/projector.ts", [JSON.stringify({ database, isWriter, partitions })])
    yield* Effect.promise(() => started.line("ready"))
    return started
  })

/** Waits for some more appends of a process. */
const appends = ({ lines, next }: Projector, more: number) =>
  Effect.suspend(() => {
    const enough = lines.length + more
    return Effect.promise(() => next(() => lines.length >= enough))
  })

const end = (one: Projector) =>
  Effect.promise(async () => {
    one.child.stdin.end()
    await one.exited
  })

/** Kills or freezes one of two processes again and again. Gives the ids of the appends that were acknowledged. */
const turmoil = (database: string) =>
  Effect.gen(function*() {
    const all: Array<Projector> = []
    const begin = Effect.tap(projector(database, true), (one) => Effect.sync(() => all.push(one)))
    const running = [yield* begin, yield* begin]
    for (let kill = 0; kill < kills; kill++) {
      const which = yield* Random.nextIntBetween(0, 2)
      const [victim, other] = [running[which], running[1 - which]]
      yield* appends(victim, yield* Random.nextIntBetween(1, 60))
      if (kill % 5 === 2) {
        // a process that is frozen inside a transaction of SQLite also stops the other one
        victim.child.kill("SIGSTOP")
        yield* Effect.raceFirst(appends(other, 200), Effect.sleep("1 second"))
        victim.child.kill("SIGCONT")
        yield* appends(victim, 20)
      }
      victim.child.kill("SIGKILL")
      yield* Effect.promise(() => victim.exited)
      running[which] = yield* begin
    }
    yield* Effect.forEach(running, end)
    return all.flatMap(({ lines }) => lines).flatMap((line) => line.startsWith("acknowledged ") ? [line.slice(13)] : [])
  })

/** Waits as long as the projection advances, however slow the machine is. */
const caughtUp = (
  projection: string,
  position: Position.Position,
  before?: Position.Position
): ReturnType<typeof Projections.awaitPosition> =>
  Effect.catchTag(
    Projections.awaitPosition(projection, position, { timeout: "30 seconds" }),
    "AwaitTimeout",
    (late) => late.reached === before ? late : caughtUp(projection, position, late.reached)
  )

interface Row {
  readonly number: number
  readonly id: string
  readonly account: string
  readonly version: number
}

/** The versions of each account, in the order of the rows. */
const inOrder = (rows: ReadonlyArray<Row>) =>
  Object.values(Arr.groupBy(rows, ({ account }) => account)).filter((rows) =>
    rows.some(({ version }, i) => i > 0 && Number(version) < Number(rows[i - 1].version))
  )

describe("processes that project while they are killed and frozen", () => {
  for (const [name, database, client] of sharedDatabases) {
    it.scopedLive(
      `skip and double no event (${name})`,
      () =>
        Effect.gen(function*() {
          const target = yield* database
          const stores = Layer.provideMerge(Layer.merge(sqlStores, SqlCheckpointStore.layer), client(target))
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            const key = sql.onDialectOrElse({
              pg: () => "bigserial",
              orElse: () => "INTEGER PRIMARY KEY AUTOINCREMENT"
            })
            for (const table of ["log", "sent"]) {
              yield* sql.unsafe(`CREATE TABLE ${table} (number ${key}, id text, account text, version integer)`)
            }
            const acknowledged = yield* turmoil(target)
            const last = yield* projector(target, false)
            const { head, readAll } = yield* EventStore.EventStore
            const position = yield* head
            for (const projection of ["log", "sent"]) yield* caughtUp(projection, position)
            yield* end(last)
            const feed = Array.from(yield* Stream.runCollect(readAll()), ({ id }) => id).sort()
            const stored = new Set(feed)
            assert.deepStrictEqual(acknowledged.filter((id) => !stored.has(id)), [], "acknowledged and lost")
            assert.isAbove(acknowledged.length, kills * 10)
            const log = yield* sql<Row>`SELECT number, id, account, version FROM log ORDER BY number`
            assert.deepStrictEqual(log.map(({ id }) => id).sort(), feed)
            assert.deepStrictEqual(inOrder(log), [])
            const sent = yield* sql<Row>`SELECT number, id, account, version FROM sent ORDER BY number`
            const first = Array.from(new Map(sent.toReversed().map((row) => [row.id, row])).values()).sort((a, b) =>
              Number(a.number) - Number(b.number)
            )
            assert.deepStrictEqual(first.map(({ id }) => id).sort(), feed)
            assert.deepStrictEqual(inOrder(first), [])
          }).pipe(Effect.provide(stores))
        }),
      1_200_000
    )
  }
})
