import { assert, describe, it } from "@effect/vitest"
import { SpanKind, SpanStatusCode } from "@opentelemetry/api"
import type { ReadableSpan } from "@opentelemetry/sdk-trace-base"
import { Effect } from "effect"
import { exported, program } from "./opentelemetry.js"

const parentIn = (spans: ReadonlyArray<ReadableSpan>) => {
  const byId = new Map(spans.map((span) => [span.spanContext().spanId, span]))
  return ({ parentSpanContext }: ReadableSpan): string | undefined =>
    parentSpanContext === undefined ? undefined : byId.get(parentSpanContext.spanId)?.name ?? "a span that is missing"
}

const named = (spans: ReadonlyArray<ReadableSpan>, name: string) => spans.filter((span) => span.name === name)

describe("examples/opentelemetry.ts exports", () => {
  it.live("a trace of the request, and one of each event that is linked to its command", () =>
    Effect.gen(function*() {
      const spans = yield* exported(program)
      const parentOf = parentIn(spans)
      const begun = spans.toSorted((a, b) => a.startTime[0] - b.startTime[0] || a.startTime[1] - b.startTime[1])
      assert.sameDeepMembers(begun.map((span) => [span.name, parentOf(span)]), [
        ["POST /accounts", undefined],
        ["Repository.execute", "POST /accounts"],
        ["EventStore.load", "Repository.execute"],
        ["EventStore.append", "Repository.execute"],
        ["Repository.execute", "POST /accounts"],
        ["EventStore.load", "Repository.execute"],
        ["EventStore.append", "Repository.execute"],
        ["EventStore.readTail", "Repository.execute"],
        ["SnapshotStore.save", "Repository.execute"],
        ["Repository.execute", "POST /accounts"],
        ["EventStore.load", "Repository.execute"],
        ...[1, 2, 3].flatMap(() => [["Balances.handle", undefined], ["Balances.update", "Balances.handle"]])
      ])
      const [request] = named(spans, "POST /accounts")
      const { traceId } = request.spanContext()
      const inRequest = spans.filter((span) => span.spanContext().traceId === traceId)
      assert.strictEqual(inRequest.length, spans.length - 6)

      const commands = named(begun, "Repository.execute")
      assert.deepStrictEqual(
        commands.map(({ attributes }) => [
          attributes["eventsourcing.command"],
          attributes["eventsourcing.outcome"],
          attributes["eventsourcing.events"],
          attributes["eventsourcing.version"],
          attributes["eventsourcing.attempts"],
          attributes["eventsourcing.snapshot"],
          attributes["eventsourcing.id"]
        ]),
        [
          ["Open", "Committed", 1, 1, 1, "None", "ada"],
          ["Deposit", "Committed", 2, 3, 1, "None", "ada"],
          ["Withdraw", "Rejected", undefined, undefined, 1, "Hit", "ada"]
        ]
      )
      assert.strictEqual(commands[2].attributes["error.type"], "InsufficientFunds")
      assert.deepStrictEqual(commands.map(({ status }) => status.code), [
        SpanStatusCode.OK,
        SpanStatusCode.OK,
        SpanStatusCode.ERROR
      ])
      for (const span of [...named(spans, "EventStore.append"), ...named(spans, "EventStore.load")]) {
        assert.strictEqual(span.kind, SpanKind.CLIENT)
        assert.deepInclude(span.attributes, {
          "db.system.name": "sqlite",
          "db.collection.name": "eventsourcing_events",
          "eventsourcing.aggregate": "Account"
        })
      }

      const [opened, deposited] = commands.map((span) => span.spanContext())
      const handled = named(begun, "Balances.handle")
      assert.deepStrictEqual(
        handled.map(({ attributes, links }) => [attributes.type, links.map(({ context }) => context.spanId)]),
        [
          ["Opened", [opened.spanId]],
          ["Deposited", [deposited.spanId]],
          ["Deposited", [deposited.spanId]]
        ]
      )
      for (const { kind, links: [link] } of handled) {
        assert.strictEqual(kind, SpanKind.CONSUMER)
        assert.strictEqual(link.context.traceId, traceId)
        assert.isString(link.attributes?.["eventsourcing.event_id"])
      }
      for (const { links } of named(spans, "Balances.update")) assert.deepStrictEqual(links, [])
    }))
})
