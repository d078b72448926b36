// imports a history into a database, and prints a line for each batch that is stored, until the process is killed
import type { SqlClient } from "@effect/sql"
import { DateTime, Effect, Layer, Stream } from "effect"
import { EventStore, StreamId } from "effect-eventsourcing"
import { pgClient } from "./postgres.js"
import { sqliteFile, sqlStores } from "./stores.js"

/** A history over several streams. Some events have a time, some an id. */
const history = (count: number): ReadonlyArray<EventStore.ImportedEvent> =>
  Array.from({ length: count }, (_, n) => ({
    stream: StreamId.make("Account", `a${n * n % 7}`),
    type: "Deposited",
    payload: { _tag: "Deposited", amount: n },
    ...(n % 3 === 0 ? { time: DateTime.unsafeMake(n) } : {}),
    ...(n % 5 === 0 ? { id: `event-${n}` } : {})
  }))

const [database, count, batchSize] = process.argv.slice(2)

const client: Layer.Layer<SqlClient.SqlClient, unknown> = database.startsWith("postgres://")
  ? pgClient(database)
  : sqliteFile(database)

await Effect.runPromise(
  Effect.flatMap(
    EventStore.EventStore,
    (store) =>
      store.import(Stream.fromIterable(history(Number(count))), { batchSize: Number(batchSize) }).pipe(
        Stream.runForEach(({ imported, skipped }) => Effect.sync(() => console.log(`${imported} ${skipped}`)))
      )
  ).pipe(Effect.provide(Layer.provide(sqlStores, client)))
)
