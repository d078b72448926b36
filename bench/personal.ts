/**
 * What personal data costs: `npx tsx bench/personal.ts`.
 *
 * The same aggregate with a text that is plain and with one that is sealed, in stores with and without `Personal.layer`.
 * The keys are in memory. The best of the runs is given, as the machine may be busy.
 */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Either, Layer, Schema } from "effect"
import {
  Aggregate,
  type EventStore,
  KeyStore,
  Personal,
  Repository,
  type SnapshotStore,
  Sqlite,
  SqlStores
} from "effect-eventsourcing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { pgClient, startServer } from "../test/utils/postgres.js"

const events = 1_000
const runs = 15

const define = <A, I>(name: string, note: Schema.Schema<A, I>) =>
  Aggregate.make({
    name,
    id: Schema.String,
    state: Schema.Struct({ last: Schema.NullOr(note), count: Schema.Int }),
    event: Schema.TaggedStruct("Noted", { note }),
    command: Schema.TaggedStruct("Note", { note }),
    initial: () => ({ last: null, count: 0 }),
    evolve: (state, event) => ({ last: event.note, count: state.count + 1 }),
    decide: (_, { note }) => Either.right([{ _tag: "Noted" as const, note }])
  })

const Plain = define("Plain", Schema.String)
const Sealed = define("Sealed", Personal.schema(Schema.String, Schema.String))

const text = (n: number) => `a text of about forty characters, ${n}`

const best = (body: () => Effect.Effect<unknown, unknown>, times: number) =>
  Effect.gen(function*() {
    let micros = Infinity
    for (let run = 0; run < runs; run++) {
      const began = process.hrtime.bigint()
      for (let n = 0; n < times; n++) yield* body()
      micros = Math.min(micros, Number(process.hrtime.bigint() - began) / 1_000 / times)
    }
    return Math.round(micros * 10) / 10
  })

type Stores = EventStore.EventStore | SnapshotStore.SnapshotStore

const measure = <E>(name: string, on: (sealing: boolean) => Layer.Layer<Stores, E>) =>
  Effect.gen(function*() {
    const plain = Effect.gen(function*() {
      const repository = yield* Repository.make(Plain)
      yield* repository.executeAll("a", Array.from({ length: events }, (_, n) => ({ _tag: "Note", note: text(n) })))
      const load = yield* best(() => repository.load("a"), 1)
      const append = yield* best(() => repository.execute(crypto.randomUUID(), { _tag: "Note", note: text(0) }), 50)
      return { load, append }
    }).pipe(Effect.scoped)
    const sealed = Effect.gen(function*() {
      const repository = yield* Repository.make(Sealed)
      const note = (n: number) => ({ _tag: "Note" as const, note: Personal.make("subject", text(n)) })
      yield* repository.executeAll("a", Array.from({ length: events }, (_, n) => note(n)))
      const load = yield* best(() => repository.load("a"), 1)
      const append = yield* best(() => repository.execute(crypto.randomUUID(), note(0)), 50)
      return { load, append }
    }).pipe(Effect.scoped)
    console.log(name, "microseconds for a load of", events, "events, and for a command of one event")
    console.log("  plain, without Personal.layer", yield* Effect.provide(plain, on(false)))
    console.log("  plain, with Personal.layer   ", yield* Effect.provide(plain, on(true)))
    console.log("  sealed                       ", yield* Effect.provide(sealed, on(true)))
  })

const keys = Layer.provide(Personal.layer, KeyStore.layerMemory)

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "personal-"))
const sqlite = (sealing: boolean) => {
  const client = Sqlite.layer(SqliteClient.layer, {
    filename: path.join(folder, `${sealing}-${crypto.randomUUID()}.db`),
    synchronous: "NORMAL"
  })
  const stores = Layer.provide(Layer.fresh(SqlStores.layer), client)
  return sealing ? Layer.provide(stores, keys) : stores
}

await Effect.runPromise(measure("SQLite", sqlite))
fs.rmSync(folder, { recursive: true, force: true })

const server = await startServer()
const postgres = (sealing: boolean) => {
  const stores = Layer.provide(
    Layer.fresh(SqlStores.layerWith({ prefix: `b${crypto.randomUUID().slice(0, 8)}` })),
    pgClient(server.url)
  )
  return sealing ? Layer.provide(stores, keys) : stores
}
await Effect.runPromise(measure("PostgreSQL", postgres))
await server.close()
