// npx tsx examples/opentelemetry.ts
//
// The traces of a request and of a consumer of its events, in an exporter that keeps them in memory. A program that
// exports them elsewhere only has another span processor. docs/observability.md lists the spans and their attributes.
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
import { Console, Context, Effect, Layer, Metric, Stream } from "effect"
import { Event, EventStore, Metrics, Repository, SnapshotPolicy, Sqlite, SqlStores } from "effect-eventsourcing"
import { fileURLToPath } from "node:url"
import { Account, AccountId, Deposit, Open, Withdraw } from "./account.js"
import { runMain } from "./terminal.js"

class Accounts extends Context.Tag("bank/Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

const AccountsLive = Repository.layer(Accounts, Account, { snapshots: SnapshotPolicy.sync({ every: 3 }) }).pipe(
  Layer.provide(Metrics.layerCommandMetrics)
)

const StoresLive = Layer.provide(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename: ":memory:" }))

/** What a server does for one request. */
const request = Effect.gen(function*() {
  const accounts = yield* Accounts
  const ada = AccountId.make("ada")
  yield* accounts.execute(ada, new Open({ owner: "Ada" }))
  yield* accounts.executeAll(ada, [new Deposit({ amount: 10 }), new Deposit({ amount: 5 })])
  yield* Effect.either(accounts.execute(ada, new Withdraw({ amount: 50 })))
}).pipe(Effect.withSpan("POST /accounts", { kind: "server" }))

/** Handles each event in a trace of its own, which is linked to the command that appended the event. */
const consume = Effect.gen(function*() {
  const events = yield* EventStore.EventStore
  yield* Stream.runForEach(events.readAll(), (event) =>
    Effect.void.pipe(
      Effect.withSpan("Balances.update"),
      Effect.withSpan("Balances.handle", { kind: "consumer", attributes: { type: event.type } }),
      Event.continueTrace(event)
    ))
})

/** Runs a program, and returns the spans that were exported meanwhile. */
export const exported = <E>(
  program: Effect.Effect<void, E, Accounts | EventStore.EventStore>
): Effect.Effect<ReadonlyArray<ReadableSpan>, E | Layer.Layer.Error<typeof StoresLive | typeof AccountsLive>> => {
  const exporter = new InMemorySpanExporter()
  const processor = new SimpleSpanProcessor(exporter)
  const TracingLive = NodeSdk.layer(() => ({ resource: { serviceName: "bank" }, spanProcessor: processor }))
  // the exporter forgets its spans when the layer of the tracer is closed
  const spans = Effect.promise(() => processor.forceFlush().then(() => exporter.getFinishedSpans()))
  return Effect.zipRight(program, spans).pipe(
    Effect.provide(Layer.provideMerge(AccountsLive, StoresLive)),
    Effect.provide(TracingLive)
  )
}

export const program = Effect.zipRight(request, consume)

const rejected = Metrics.commands.pipe(
  Metric.tagged("aggregate", "Account"),
  Metric.tagged("command", "Withdraw"),
  Metric.tagged("outcome", "Rejected"),
  Metric.value
)

const main = Effect.gen(function*() {
  const spans = yield* exported(program)
  const byId = new Map(spans.map((span) => [span.spanContext().spanId, span]))
  const children = (parent: string | undefined) =>
    spans.filter(({ parentSpanContext }) => parentSpanContext?.spanId === parent)
  const print = (span: ReadableSpan, indent: string): Effect.Effect<void> => {
    const { attributes, links, name } = span
    const details = ["eventsourcing.command", "eventsourcing.outcome", "db.operation.name", "type"].flatMap((key) =>
      attributes[key] === undefined ? [] : [String(attributes[key])]
    )
    const linked = links.map(({ context: { spanId } }) => `linked to ${byId.get(spanId)?.name} ${spanId}`)
    return Console.log([`${indent}${name}`, ...details, ...linked].join(" ")).pipe(
      Effect.zipRight(Effect.forEach(children(span.spanContext().spanId), (child) => print(child, `${indent}  `))),
      Effect.asVoid
    )
  }
  yield* Effect.forEach(children(undefined), (root) => print(root, ""))
  yield* Console.log(`Rejected: ${(yield* rejected).count}`)
})

if (process.argv[1] === fileURLToPath(import.meta.url)) runMain(main)
