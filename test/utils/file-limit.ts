// a process whose files may not grow beyond a limit: a state that is too large for it is saved inside a transaction
import { SqlClient, SqlError } from "@effect/sql"
import { Effect, Layer } from "effect"
import { EventStore, ExpectedVersion, SnapshotStore, StreamId } from "effect-eventsourcing"
import { sqliteFile, sqlStores } from "./stores.js"

// what goes beyond the limit is an error of the write then, and does not end the process
process.on("SIGXFSZ", () => {})

const stream = (text: string) => StreamId.make("Account", text)

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const events = yield* EventStore.EventStore
  const snapshots = yield* SnapshotStore.SnapshotStore
  const append = (text: string) =>
    events.append(stream(text), [{ id: crypto.randomUUID(), type: "Opened", payload: {} }], {
      expectedVersion: ExpectedVersion.any
    })
  const save = snapshots.save({
    stream: stream("a"),
    version: 1,
    eventId: "e",
    schemaVersion: 1,
    fingerprint: "f",
    state: JSON.stringify("x".repeat(40_000_000)),
    time: 0
  })
  const failure = yield* Effect.flip(sql.withTransaction(Effect.gen(function*() {
    yield* append("before")
    yield* Effect.flip(save)
    yield* Effect.ignore(append("after"))
  })))
  console.log(failure instanceof SqlError.SqlError)
  yield* append("usable")
  const versions = yield* Effect.forEach(["before", "after", "usable"], (text) => events.version(stream(text)))
  console.log(versions.join(" "))
})

await Effect.runPromise(Effect.provide(program, Layer.provideMerge(sqlStores, sqliteFile(process.argv[2]))))
