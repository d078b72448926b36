import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, FastCheck as fc, Option, Stream, Tracer } from "effect"
import { Event, EventStore, Repository, StreamId } from "effect-eventsourcing"
import { Account, id, open } from "./fixtures/Account.js"
import { memoryStores } from "./utils/backends.js"
import { tracing } from "./utils/observe.js"

const metadataOf = (text: string) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.map(
      Stream.runCollect(store.read(StreamId.make("Account", text))),
      (events) => Chunk.toReadonlyArray(events).map(({ metadata }) => metadata)
    ))

const opened = <A, E, R>(around: (effect: Effect.Effect<unknown, unknown>) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const accounts = yield* Repository.make(Account)
    yield* around(accounts.execute(id("a"), open))
    const [metadata] = yield* metadataOf("a")
    return metadata
  })

const traceparentOf = ({ spanId, traceId }: Tracer.AnySpan) => `00-${traceId}-${spanId}-01`

describe("the trace context of an event", () => {
  it.scoped("is that of its command, if a tracer is configured", () =>
    Effect.gen(function*() {
      const { spans, traced } = yield* tracing
      const metadata = yield* opened((execute) => traced(Effect.withSpan(execute, "request")))
      const [request, command] = spans
      assert.deepStrictEqual([request.name, command.name], ["request", "Repository.execute"])
      assert.deepStrictEqual(metadata, { traceparent: traceparentOf(command) })
      assert.strictEqual(command.traceId, request.traceId)
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("is there for a command outside of any span", () =>
    Effect.gen(function*() {
      const { spans, traced } = yield* tracing
      assert.deepStrictEqual(yield* opened(traced), { traceparent: traceparentOf(spans[0]) })
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("does not replace one that the caller gives", () =>
    Effect.gen(function*() {
      const { traced } = yield* tracing
      const given = { traceparent: "the caller's" }
      const metadata = yield* opened((execute) => traced(Effect.provideService(execute, Event.CurrentMetadata, given)))
      assert.deepStrictEqual(metadata, given)
    }).pipe(Effect.provide(memoryStores)))

  const external = Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16) })

  it.scoped("is not stored without a tracer, neither for a span nor for that of another program", () =>
    Effect.gen(function*() {
      const metadata = yield* opened((execute) =>
        execute.pipe(Effect.withSpan("request"), Effect.withParentSpan(external))
      )
      assert.deepStrictEqual(metadata, {})
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("is not stored while tracing is disabled", () =>
    Effect.gen(function*() {
      const { spans, traced } = yield* tracing
      const metadata = yield* opened((execute) =>
        execute.pipe(Effect.withTracerEnabled(false), Effect.withSpan("request"), traced)
      )
      assert.deepStrictEqual([metadata, spans.length], [{}, 1])
    }).pipe(Effect.provide(memoryStores)))

  it.scoped("is not stored if no other program could name the span", () =>
    Effect.gen(function*() {
      const native = yield* Effect.tracer
      const tracer = Tracer.make({
        span: (...args) => Object.assign(native.span(...args), { spanId: "7" }),
        context: native.context
      })
      assert.deepStrictEqual(yield* opened(Effect.withTracer(tracer)), {})
    }).pipe(Effect.provide(memoryStores)))
})

const recorded = (traceparent: unknown) => ({ id: "e-1", metadata: { traceparent, user: "ada" } })

/** The links of the spans that a consumer begins, by name. */
const linksAfter = (traceparent: unknown) =>
  Effect.gen(function*() {
    const { spans, traced } = yield* tracing
    yield* Effect.withSpan(Effect.void, "inner").pipe(
      Effect.withSpan("handle"),
      Effect.zipRight(Effect.withSpan(Effect.void, "report", { root: true })),
      Event.continueTrace(recorded(traceparent)),
      Effect.zipLeft(Effect.withSpan(Effect.void, "after")),
      Effect.withSpan("consumer"),
      traced
    )
    return spans.map(({ links, name }) => ({
      name,
      links: links.map(({ attributes, span: { sampled, spanId, traceId } }) => ({
        attributes,
        sampled,
        spanId,
        traceId
      }))
    }))
  })

const unlinked = ["consumer", "handle", "inner", "report", "after"].map((name) => ({ name, links: [] }))

const hex = (length: number) =>
  fc.hexaString({ minLength: length, maxLength: length }).filter((text) => !/^0+$/.test(text))

describe("Event.continueTrace", () => {
  it.effect.prop(
    "links the outermost spans of a consumer to the command, and no other",
    { traceId: hex(32), spanId: hex(16), flags: fc.integer({ min: 0, max: 255 }) },
    ({ flags, spanId, traceId }) =>
      Effect.gen(function*() {
        const traceparent = `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`
        const attributes = { "eventsourcing.event_id": "e-1" }
        const links = [{ attributes, sampled: flags % 2 === 1, spanId, traceId }]
        assert.deepStrictEqual(
          yield* linksAfter(traceparent),
          unlinked.map(({ name }) => ({ name, links: name === "handle" || name === "report" ? links : [] }))
        )
      }),
    { fastCheck: { numRuns: 20 } }
  )

  it.effect("reads the fields that it knows of a later version", () =>
    Effect.gen(function*() {
      const spans = yield* linksAfter(`01-${"a".repeat(32)}-${"b".repeat(16)}-01-more`)
      assert.strictEqual(spans[1].links[0].spanId, "b".repeat(16))
    }))

  const valid = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`
  // one character replaced, removed or added
  const damaged = fc.tuple(
    fc.nat({ max: valid.length - 1 }),
    fc.constantFrom("", "g", "A", "-", " ", "\n", "\u0000", "00")
  )
    .map(([at, put]) => valid.slice(0, at) + put + valid.slice(at + 1))
    .filter((text) => text !== valid)
  const malformed = fc.oneof(
    damaged,
    fc.anything().filter((value) => value !== valid),
    fc.constantFrom(
      `ff${valid.slice(2)}`,
      `${valid}-more`,
      `00-${"0".repeat(32)}-${"b".repeat(16)}-01`,
      `00-${"a".repeat(32)}-${"0".repeat(16)}-01`,
      [valid],
      { toString: () => valid }
    )
  )

  it.effect.prop(
    "ignores what is not a trace context",
    { value: malformed },
    ({ value }) => Effect.map(linksAfter(value), (spans) => assert.deepStrictEqual(spans, unlinked))
  )

  it.effect("changes nothing for an event without a trace context, or without a tracer", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* linksAfter(undefined), unlinked)
      const native = yield* Effect.tracer
      const seen = yield* Effect.tracer.pipe(Event.continueTrace(recorded(valid)))
      assert.strictEqual(seen, native)
    }))

  it.effect("runs the handler of an event that has no metadata, or none that can be read", () =>
    Effect.gen(function*() {
      // as a program without types may give it
      const link = Event.continueTrace as (recorded: unknown) => typeof Effect.asVoid
      const unreadable = {
        get traceparent() {
          throw new Error("planned")
        }
      }
      for (const event of [undefined, null, {}, { id: "e-1", metadata: null }, { id: "e-1", metadata: unreadable }]) {
        const { spans, traced } = yield* tracing
        yield* traced(link(event)(Effect.withSpan(Effect.void, "handle")))
        assert.deepStrictEqual(spans.map(({ links, name }) => [name, links.length]), [["handle", 0]])
      }
    }))

  it.scoped("leads from a handler to the command that appended the event", () =>
    Effect.gen(function*() {
      const { spans, traced } = yield* tracing
      const accounts = yield* Repository.make(Account)
      yield* traced(accounts.execute(id("a"), open))
      const store = yield* EventStore.EventStore
      yield* store.readAll().pipe(
        Stream.runForEach((event) => Effect.void.pipe(Effect.withSpan("handle"), Event.continueTrace(event))),
        traced
      )
      const handle = spans.find(({ name }) => name === "handle")
      const command = spans.find(({ name }) => name === "Repository.execute")
      assert.strictEqual(handle?.links[0].span.spanId, command?.spanId)
      assert.isTrue(handle !== undefined && Option.isNone(handle.parent))
    }).pipe(Effect.provide(memoryStores)))
})
