// the errors with which spans end: exporters write their messages, stacks and causes to the trace
import { NodeSdk } from "@effect/opentelemetry"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { Data, Effect, Either, Layer, Schema } from "effect"
import { Aggregate, Repository, SnapshotPolicy, SqlStores } from "effect-eventsourcing"
import { sqliteFile } from "./utils/backends.js"

class Refused extends Schema.TaggedError<Refused>()("Refused", { iban: Schema.String }) {}

class Unlucky extends Data.TaggedError("Unlucky")<{ readonly message: string }> {}

const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })

const Counter = Aggregate.make({
  name: "Counter",
  id: Schema.String,
  state: Schema.Struct({ sum: Schema.Int }),
  event: Counted,
  command: Schema.TaggedStruct("Count", { by: Schema.Int }),
  initial: () => ({ sum: 0 }),
  evolve: (state, { by }) => ({ sum: state.sum + by }),
  decide: (_, { by }) => {
    if (by === 0) return Either.left(new Refused({ iban: "SECRET-1" }))
    if (by === 1) return Either.left(new Unlucky({ message: "SECRET-2" }))
    if (by === 2) throw new Error("SECRET-3")
    return Either.right([Counted.make({ by }, { disableValidation: true })])
  }
})

describe("the error of a span", () => {
  it.live("has its tag, and of the library's own errors the message, but no value", () =>
    Effect.gen(function*() {
      const exporter = new InMemorySpanExporter()
      const sdk = NodeSdk.layer(() => ({
        resource: { serviceName: "test" },
        spanProcessor: new SimpleSpanProcessor(exporter)
      }))
      const spans = yield* Effect.gen(function*() {
        const counters = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.sync({ every: 1 }) })
        const sql = yield* SqlClient.SqlClient
        const count = (id: string, by: number) => Effect.exit(counters.execute(id, { _tag: "Count", by }))
        yield* Effect.forEach([0, 1, 2, JSON.parse(`"SECRET-4"`), 5], (by) => count("a", by))
        yield* sql`UPDATE eventsourcing_events SET payload = '{"_tag":"Counted","by":"SECRET-5"}'`
        yield* sql`UPDATE eventsourcing_snapshots SET state = '{"sum":"SECRET-6"}'`
        yield* count("a", 7)
        yield* Effect.exit(counters.load("a"))
        return exporter.getFinishedSpans().filter(({ name }) => name.startsWith("Repository."))
      }).pipe(Effect.scoped, Effect.provide(sdk))
      const statuses = spans.map(({ attributes, status }) => [attributes["error.type"], status.message])
      assert.deepStrictEqual(statuses, [
        ["Refused", "Refused"],
        ["Unlucky", "Unlucky"],
        ["_OTHER", "a defect"],
        ["EventEncodeError", statuses[3][1]],
        [undefined, undefined],
        ["EventDecodeError", statuses[5][1]],
        [undefined, statuses[6][1]]
      ])
      assert.include(String(statuses[3][1]), `"Count" for "Counter"/"a": event 1`)
      assert.include(
        String(statuses[5][1]),
        `event 1 of "Counter"/"a", of type "Counted", does not decode`
      )
      const written = JSON.stringify(
        spans.map(({ attributes, events, links, name, status }) => ({ attributes, events, links, name, status }))
      )
      assert.deepStrictEqual(written.match(/SECRET-\d/g) ?? [], [])
    }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, sqliteFile(":memory:")))))
})
