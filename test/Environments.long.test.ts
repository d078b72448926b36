import { SqlClient } from "@effect/sql"
import { assert } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, ExpectedVersion, StreamId } from "effect-eventsourcing"
import { EventStoreContract, SnapshotStoreContract, SqlFaults } from "effect-eventsourcing/testing"
import { afterAll, describe, it } from "vitest"
import { businessRule, conversions, indexes } from "./utils/environments.js"
import { sqlStores } from "./utils/stores.js"
import { tamper } from "./utils/tamper.js"

const runner = { afterAll, describe, it }
const small = { largeAppends: false, largePayloads: false }

for (const { layer, name, transformed } of [...conversions, ...indexes]) {
  EventStoreContract.suite(runner, name, layer, transformed === true ? small : { ...small, ...tamper })
  SnapshotStoreContract.suite(runner, name, layer)
}

describe("a unique index of the program on the table of events", () => {
  for (const [name, client] of businessRule) {
    it(`is named by the error at once, which is not a conflict (${name})`, async () => {
      const sent: Array<string> = []
      const observed = SqlFaults.layer(SqlFaults.none, { onStatement: ({ text }) => sent.push(text) })
      const append = (id: string, type: string) =>
        Effect.flatMap(
          EventStore.EventStore,
          (store) =>
            store.append(StreamId.make("Mail", id), [{ id: crypto.randomUUID(), type, payload: null }], {
              expectedVersion: ExpectedVersion.any
            })
        )
      const failure = await Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe("CREATE UNIQUE INDEX one_of_a_type ON eventsourcing_events (type)")
        yield* append("a", "Taken")
        sent.length = 0
        return yield* Effect.flip(append("b", "Taken"))
      }).pipe(Effect.provide(Layer.provideMerge(sqlStores, observed(client))), Effect.runPromise)
      assert.strictEqual(failure._tag, "EventStoreError")
      assert.match(failure.message, name === "SQLite" ? /eventsourcing_events\.type/ : /one_of_a_type/)
      // the append, and what asks which index it was
      assert.isBelow(sent.length, 5, sent.join("\n"))
    })
  }
})
