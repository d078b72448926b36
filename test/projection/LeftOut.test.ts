// events that a projection knows and does not read stay in the store, those that it does not know arrive
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Duration, Effect, Either, Layer, Option, Schedule, Schema } from "effect"
import {
  Aggregate,
  CheckpointStore,
  type Event,
  EventStore,
  ExpectedVersion,
  Position,
  Projection,
  Projections,
  StreamId,
  Versions
} from "effect-eventsourcing"
import * as fs from "node:fs"
import { Order, OrderWithoutPast } from "../fixtures/Order.js"
import { backends } from "../utils/backends.js"

/** One stored event of each type that the aggregate reads, or more. */
const golden: ReadonlyArray<{ readonly type: string; readonly payload: unknown }> = JSON.parse(
  fs.readFileSync(new URL("../golden/events/order.json", import.meta.url), "utf8")
)

const tags = ["Placed", "LineAdded", "Shipped", "Closed"] as const

const subsets = Array.from(
  { length: 2 ** tags.length },
  (_, bits) => tags.filter((_, index) => (bits >> index) % 2 > 0)
)

const append = (events: ReadonlyArray<{ readonly type: string; readonly payload: unknown }>, name = "Order") =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const { position } = yield* store.append(
      StreamId.make(name, "a"),
      events.map((event) => ({ ...event, id: crypto.randomUUID() })),
      { expectedVersion: ExpectedVersion.any }
    )
    return Option.getOrThrow(position)
  })

/** The store, which notes the events of the pages that a loop reads. */
const observed = Effect.map(EventStore.EventStore, (store) => {
  const pages: Array<ReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent>> = []
  const readPage: typeof store.readPage = (options) =>
    Effect.tap(store.readPage(options), ({ events }) => Effect.sync(() => pages.push(events)))
  return { pages, layer: Layer.succeed(EventStore.EventStore, { ...store, readPage }) }
})

const live = (
  name: string,
  body: Effect.Effect<void, unknown, EventStore.EventStore | CheckpointStore.CheckpointStore>
) => {
  for (const [backend, layer] of backends) {
    it.live(`${name} (${backend})`, () => body.pipe(Effect.provide(Layer.merge(layer, CheckpointStore.layerMemory))))
  }
}

/** Waits for a status. */
const looked = (isReached: (status: Projections.Status) => boolean) =>
  Effect.map(Projections.status(), (all) => Arr.findFirst(all, isReached)).pipe(
    Effect.repeat({
      until: Option.isSome,
      schedule: Schedule.spaced("10 millis").pipe(Schedule.upTo("1 minute"))
    }),
    Effect.zipRight(Effect.map(Projections.status(), (all) => Option.getOrThrow(Arr.findFirst(all, isReached))))
  )

describe("the types that a definition leaves out", () => {
  it("are those of which no stored event is read as one of its tags, for any tags", () => {
    for (const wanted of subsets) {
      const left = Order.event.typesWithout(new Set(wanted))
      for (const { payload, type } of golden) {
        const decode = Order.event.decoder(type)
        const tag = decode === undefined ? undefined : Either.getOrThrow(decode(payload))._tag
        assert.strictEqual(left.includes(type), !wanted.some((one) => one === tag), `${type} of ${wanted}`)
      }
      // each is known, so that a type of newer code is not among them
      for (const type of left) assert.isTrue(Order.event.types.includes(type) || Order.event.isRetired(type), type)
    }
  })

  it("are none of a definition that reads all events of its aggregates", () => {
    const { reading } = Projection.make({ name: "p", on: [Order], handle: () => Effect.void })
    assert.deepStrictEqual(reading.excludedTypes, [])
  })

  it("may be read by one that leads to several tags", () => {
    const A = Schema.TaggedStruct("A", {})
    const B = Schema.TaggedStruct("B", {})
    const Old = Schema.TaggedStruct("Old", { isA: Schema.Boolean })
    const { event } = Aggregate.make({
      name: "Split",
      id: Schema.String,
      state: Schema.Int,
      event: Schema.Union(A, B),
      command: A,
      upcasts: {
        Old: Versions.from(1, Old).to(Schema.Union(A, B), ({ isA }) => isA ? A.make() : B.make())
      },
      initial: () => 0,
      evolve: (state) => state,
      decide: () => Either.right([])
    })
    assert.deepStrictEqual(event.typesWithout(new Set(["A"])), ["B"])
    assert.deepStrictEqual(event.typesWithout(new Set(["B"])), ["A"])
    assert.sameMembers(Array.from(event.typesWithout(new Set())), ["A", "B", "Old"])
  })

  live(
    "do not leave the store, and the checkpoint advances past them",
    Effect.scoped(Effect.gen(function*() {
      const { layer, pages } = yield* observed
      const seen: Array<string> = []
      const projection = Projection.make({
        name: "shipped",
        on: [Projection.only(Order, ["Shipped"])],
        handle: (events) => Effect.sync(() => seen.push(...events.map(({ type }) => type)))
      })
      const wanted = golden.filter(({ type }) => /^(Shipped|Dispatched)/.test(type)).map(({ type }) => type)
      yield* append(golden)
      const noise = Array.from(
        { length: 4_000 },
        () => ({ type: "Placed", payload: { _tag: "Placed", customer: "ada" } })
      )
      for (let n = 0; n < 3; n++) yield* append(noise)
      const last = yield* append([...golden, noise[0]])
      for (const partitions of [1, 3]) {
        seen.length = 0
        pages.length = 0
        yield* Effect.scoped(Effect.zipRight(
          Effect.provide(Layer.build(Projection.layer({ ...projection, version: partitions }, { partitions })), layer),
          looked(({ partitions: found, version }) =>
            version === partitions && found.every(({ position }) => Position.Order(position, last) >= 0)
          )
        ))
        assert.deepStrictEqual(seen, [...wanted, ...wanted])
        assert.deepStrictEqual(pages.flat().map(({ type }) => type), [...wanted, ...wanted])
      }
    }))
  )

  live(
    "are not those of newer code: the projection stops",
    Effect.scoped(Effect.gen(function*() {
      const projection = Projection.make({
        name: "placed",
        on: [Projection.only(OrderWithoutPast, ["Placed"])],
        handle: () => Effect.void
      })
      const known = { type: "Closed", payload: { _tag: "Closed" } }
      yield* append([known, known])
      const unknown = yield* append([{ type: "Placed@7", payload: { _tag: "Placed", by: "ada" } }])
      yield* append([known])
      yield* Layer.build(Projection.layer(projection))
      const { partitions: [{ stopped }] } = yield* looked(({ partitions }) => Option.isSome(partitions[0].stopped))
      assert.deepStrictEqual(Option.flatMap(stopped, ({ position }) => position), Option.some(unknown))
    }))
  )
})

describe("a projection of long events", () => {
  live(
    "gets batches of 16 MB at most",
    Effect.scoped(Effect.gen(function*() {
      const { layer, pages } = yield* observed
      const sizes: Array<number> = []
      const projection = Projection.make({
        name: "long",
        on: [OrderWithoutPast],
        handle: (events) =>
          Effect.sync(() =>
            sizes.push(
              events.reduce((sum, { event }) => sum + (event._tag === "Placed" ? event.customer.length : 0), 0)
            )
          )
      })
      const long = { type: "Placed", payload: { _tag: "Placed", customer: "x".repeat(1_000_000) } }
      let last: Position.Position = Position.start
      for (let n = 0; n < 10; n++) last = yield* append([long, long, long, long])
      yield* Layer.build(Projection.layer(projection, { pageSize: 4_000 })).pipe(Effect.provide(layer))
      yield* Projections.awaitPosition("long", last, { timeout: Duration.minutes(1) })
      assert.strictEqual(sizes.reduce((sum, size) => sum + size, 0), 40_000_000)
      for (const size of sizes) assert.isAtMost(size, 16_000_000)
      for (const page of pages) assert.isAtMost(page.length, 16)
    }))
  )
})
