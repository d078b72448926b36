// random operations on every backend against a plain model; what fails is shrunk
import {
  Array as Arr,
  Chunk,
  Clock,
  Effect,
  Either,
  FastCheck as fc,
  Layer,
  ManagedRuntime,
  Option,
  Order,
  Schedule,
  Stream
} from "effect"
import { EventStore, ExpectedVersion, Position, type Snapshot, SnapshotStore, StreamId } from "effect-eventsourcing"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import {
  backends,
  groupingStores,
  postgresTemporaryDatabase,
  sqliteFile,
  sqliteTemporaryFile,
  type Stores
} from "./utils/backends.js"
import { everything } from "./utils/mode.js"

interface Stored {
  readonly stream: string
  readonly id: string
  readonly payload: unknown
}

/** What the stores are to do, in the plainest way. */
class Model {
  readonly all: Array<Stored> = []
  readonly snapshots = new Map<string, Snapshot.EncodedSnapshot>()
  constructor(readonly aggregate: string) {}

  of(stream: string) {
    return this.all.filter((event) => event.stream === stream)
  }

  /** By the number in their ids. */
  inOrder() {
    const numberOf = ({ id }: Stored) => Number(id.slice(this.aggregate.length + 1))
    return [...this.all].sort((a, b) => numberOf(a) - numberOf(b))
  }

  append(stream: string, events: ReadonlyArray<Stored>, expected: ExpectedVersion.ExpectedVersion) {
    const { max, min } = ExpectedVersion.bounds(expected)
    const own = this.of(stream)
    const first = own.findIndex(({ id }) => id === events[0].id)
    const repeated = (min < max ? first >= 0 : first === min) &&
      events.every(({ id }, index) => own[first + index]?.id === id)
    if (repeated) return first + events.length
    // an id that stands in another stream is taken, whatever else is wrong
    const standing = this.all.filter((event) => events.some(({ id }) => id === event.id))
    if (standing.some((event) => event.stream !== stream)) return "DuplicateEventId"
    if (standing.length === 0 && (own.length < min || own.length > max)) return "VersionConflict"
    if (standing.length > 0) return "refused"
    this.all.push(...events)
    return own.length + events.length
  }

  /** Imports events with ids and without versions. A batch that fails stores nothing, and ends the import. */
  import(batches: ReadonlyArray<ReadonlyArray<Stored>>) {
    const next = new Map<string, number>()
    for (const batch of batches) {
      if (new Set(batch.map(({ id }) => id)).size < batch.length) return "DuplicateEventId"
      const heads = new Map(batch.map(({ stream }) => [stream, this.of(stream).length]))
      const rest: Array<Stored> = []
      for (const event of batch) {
        const { id, stream } = event
        const head = heads.get(stream) ?? 0
        const found = this.of(stream).findIndex((own) => own.id === id) + 1
        const version = next.get(stream) ?? (found > 0 ? found : head + 1)
        if (this.all.some((other) => other.id === id)) {
          if (found !== version) return "DuplicateEventId"
        } else if (version === head + 1) {
          rest.push(event)
        } else {
          return "VersionConflict"
        }
        heads.set(stream, Math.max(head, version))
        next.set(stream, version + 1)
      }
      this.all.push(...rest)
    }
    return "imported"
  }

  save(snapshot: Snapshot.EncodedSnapshot) {
    const key = `${snapshot.stream.id} ${snapshot.schemaVersion}`
    const current = this.snapshots.get(key)
    if (current !== undefined && current.version >= snapshot.version) return "Superseded"
    this.snapshots.set(key, snapshot)
    return "Saved"
  }

  get(stream: string, schemaVersion: number) {
    const rows = Array.from(this.snapshots.values()).filter((row) => row.stream.id === stream)
      .sort((a, b) => b.schemaVersion - a.schemaVersion)
    return rows.find((row) => row.schemaVersion <= schemaVersion) ?? rows.at(0)
  }
}

interface Real {
  /** Whether appends of fibers that start together are done in the order in which the fibers start. */
  readonly inOrder: boolean
  readonly run: <A, E>(effect: Effect.Effect<A, E, Stores>) => Promise<A>
}

type Command = fc.AsyncCommand<Model, Real>

const command = (name: string, run: (model: Model, real: Real) => Promise<void>): Command => ({
  check: () => true,
  run,
  toString: () => name
})

const events = EventStore.EventStore
const snapshots = SnapshotStore.SnapshotStore
const streamIds = fc.constantFrom("a", "b", "__proto__")
const expectations: fc.Arbitrary<ExpectedVersion.ExpectedVersion> = fc.oneof(
  fc.constantFrom(ExpectedVersion.any, ExpectedVersion.noStream, ExpectedVersion.streamExists),
  fc.nat(12).map(ExpectedVersion.exact)
)
// few ids, so that they are met again: alone, in part, in another order, in another stream
const batches = fc.oneof(
  fc.uniqueArray(fc.nat(30), { minLength: 1, maxLength: 4 }),
  fc.tuple(fc.nat(30), fc.integer({ min: 1, max: 4 })).map(([from, count]) =>
    Array.from({ length: count }, (_, i) => from + i)
  )
)

const types = ["E0", "E1", "E2"]
/** The type of an event depends on the number at the end of its id. */
const typeOf = (id: string) => types[Number(id.slice(id.lastIndexOf("-") + 1)) % types.length]

const appending = fc.tuple(streamIds, batches, expectations, fc.jsonValue()).map((
  [stream, numbers, expected, payload]
) =>
  command(`append(${stream}, [${numbers}], ${ExpectedVersion.format(expected)})`, async (model, real) => {
    const batch = numbers.map((n) => ({ stream, id: `${model.aggregate}-${n}`, payload }))
    const outcome = await real.run(Effect.flatMap(events, (store) =>
      Effect.either(store.append(
        StreamId.make(model.aggregate, stream),
        batch.map(({ id, payload }) => ({ id, type: typeOf(id), payload })),
        { expectedVersion: expected }
      ))))
    const before = model.all.length
    const wanted = model.append(stream, batch, expected)
    if (Either.isRight(outcome)) {
      assert.strictEqual(outcome.right.version, wanted)
      assert.strictEqual(outcome.right.duplicate, model.all.length === before)
    } else {
      assert.include(wanted === "refused" ? ["VersionConflict", "DuplicateEventId"] : [wanted], outcome.left._tag)
      if (outcome.left._tag === "VersionConflict") assert.strictEqual(outcome.left.actual, model.of(stream).length)
    }
  })
)

const importing = fc.tuple(
  // mostly runs of ids, which may be stored in part
  fc.array(fc.tuple(streamIds, batches), { minLength: 1, maxLength: 3 }),
  fc.integer({ min: 1, max: 8 }),
  fc.jsonValue()
).map(([runs, batchSize, payload]) =>
  command(`import(${runs.map(([stream, numbers]) => `${stream} [${numbers}]`).join(", ")}, by ${batchSize})`, (
    model,
    real
  ) =>
    real.run(Effect.gen(function*() {
      const store = yield* events
      const all = runs.flatMap(([stream, numbers]) =>
        numbers.map((n): Stored => ({ stream, id: `${model.aggregate}-${n}`, payload }))
      )
      const imported = all.map(({ id, payload, stream }) => ({
        id,
        payload,
        type: typeOf(id),
        stream: StreamId.make(model.aggregate, stream)
      }))
      const outcome = yield* Effect.either(Stream.runLast(store.import(Stream.fromIterable(imported), { batchSize })))
      const before = model.all.length
      const wanted = model.import(Arr.chunksOf(all, batchSize))
      assert.strictEqual(Either.isRight(outcome) ? "imported" : outcome.left._tag, wanted)
      if (Either.isLeft(outcome)) return
      const progress = Option.getOrThrow(outcome.right)
      assert.strictEqual(progress.imported, model.all.length - before)
      assert.strictEqual(progress.imported + progress.skipped, all.length)
    })))
)

/** Every order of some values. */
const orders = <A>(values: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  values.length === 0
    ? [[]]
    : values.flatMap((value, index) => orders(values.toSpliced(index, 1)).map((rest) => [value, ...rest]))

// new ids come one after the other into different streams; others are met again
const appendsAtOnce = fc.array(
  fc.tuple(streamIds, fc.oneof(fc.nat(400).map((n) => [100 + n]), batches), expectations),
  { minLength: 2, maxLength: 5 }
)

const appendingTogether = fc.tuple(appendsAtOnce, fc.jsonValue()).map(([appends, payload]) =>
  command(
    `append together: ${
      appends.map(([stream, numbers, expected]) => `${stream} [${numbers}] ${ExpectedVersion.format(expected)}`)
        .join(", ")
    }`,
    async (model, real) => {
      const calls = appends.map(([stream, numbers, expected]) => ({
        stream,
        expected,
        batch: numbers.map((n) => ({ stream, id: `${model.aggregate}-${n}`, payload }))
      }))
      const results = await real.run(Effect.flatMap(events, (store) =>
        Effect.all(
          calls.map(({ batch, expected, stream }) =>
            Effect.either(store.append(
              StreamId.make(model.aggregate, stream),
              batch.map(({ id, payload }) => ({ id, type: typeOf(id), payload })),
              { expectedVersion: expected }
            ))
          ),
          { concurrency: "unbounded" }
        )))
      const before = [...model.all]
      const isNew = (id: string) => !before.some((event) => event.id === id)
      const ids = calls.flatMap(({ batch }) => batch.map(({ id }) => id))
      // a statement that violates an index is tried again, alone
      const keepsOrder = real.inOrder && new Set(ids).size === ids.length && ids.every(isNew)
      const explains = (order: ReadonlyArray<number>): boolean => {
        model.all.splice(0, Infinity, ...before)
        let last: Position.Position = Position.start
        const arrived = new Map<string, number>()
        return order.every((index) => {
          const { batch, expected, stream } = calls[index]
          const result = results[index]
          const length = model.all.length
          const wanted = model.append(stream, batch, expected)
          if (Either.isLeft(result)) {
            return (wanted === "refused" ? ["VersionConflict", "DuplicateEventId"] : [wanted]).includes(
              result.left._tag
            )
          }
          const { duplicate, position, version } = result.right
          if (version !== wanted || duplicate !== (model.all.length === length)) return false
          if (duplicate) return true
          const inPlace = Order.greaterThan(Position.Order)(Option.getOrThrow(position), last) &&
            !(keepsOrder && expected._tag === "Any" && (arrived.get(stream) ?? -1) > index)
          last = Option.getOrThrow(position)
          if (expected._tag === "Any") arrived.set(stream, index)
          return inPlace
        })
      }
      assert.isTrue(
        orders(calls.map((_, index) => index)).some(explains),
        `no order of the appends explains ${JSON.stringify(results)}`
      )
      for (const [index, result] of results.entries()) {
        if (Either.isRight(result) || result.left._tag !== "VersionConflict") continue
        assert.isAtMost(result.left.actual, model.of(calls[index].stream).length)
      }
    }
  )
)

const range = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.nat(12), fc.integer({ min: 1, max: 5 }))

const reading = fc.tuple(streamIds, range).map(([stream, [fromVersion, toVersion, pageSize]]) =>
  command(`read(${stream}, ${fromVersion} to ${toVersion} by ${pageSize})`, async (model, real) => {
    const id = StreamId.make(model.aggregate, stream)
    const { backwards, found, read, tail, version } = await real.run(Effect.flatMap(events, (store) =>
      Effect.all({
        read: Stream.runCollect(store.read(id, { fromVersion, toVersion, pageSize })),
        backwards: Stream.runCollect(store.read(id, { fromVersion, toVersion, pageSize, reverse: true })),
        tail: store.replay.readTail(id, { fromVersion, limit: pageSize }),
        version: store.version(id),
        found: store.find(Array.from({ length: 501 }, (_, n) => `${model.aggregate}-${n}`))
      })))
    const own = model.of(stream)
    assert.strictEqual(version, own.length)
    assert.deepStrictEqual(Chunk.toReadonlyArray(backwards), [...read].reverse())
    assert.deepStrictEqual(
      Chunk.toReadonlyArray(read).map(({ id, payload, version }) => ({ id, payload, version })),
      own.map(({ id, payload }, i) => ({ id, payload, version: i + 1 })).slice(fromVersion - 1, toVersion)
    )
    assert.deepStrictEqual(
      tail.map(({ payload, version }) => ({ payload: JSON.parse(payload), version })),
      own.map(({ payload }, i) => ({ payload, version: i + 1 })).slice(fromVersion - 1, fromVersion - 1 + pageSize)
    )
    if (tail.length > 0) assert.strictEqual(tail[0].eventId, own[fromVersion - 1].id)
    assert.deepStrictEqual(
      found.map(({ eventId, stream, version }) => ({ id: eventId, at: model.of(stream.id)[version - 1]?.id })),
      model.inOrder().map(({ id }) => ({ id, at: id }))
    )
  })
)

const feeding = fc.tuple(fc.nat(40), fc.integer({ min: 1, max: 7 })).map(([skip, pageSize]) =>
  command(`readAll(after ${skip} by ${pageSize})`, async (model, real) => {
    const { aggregate } = model
    const all = await real.run(
      Effect.flatMap(events, (store) =>
        Effect.repeat(Stream.runCollect(store.readAll({ aggregates: [aggregate] })), {
          until: (read) => read.length >= model.all.length,
          schedule: Schedule.spaced("10 millis").pipe(Schedule.upTo("10 seconds"))
        }).pipe(
          Effect.zipRight(
            Effect.map(Stream.runCollect(store.readAll({ aggregates: [aggregate], pageSize })), Chunk.toReadonlyArray)
          ),
          Effect.withClock(Clock.make())
        ))
    )
    assert.deepStrictEqual(
      all.map(({ id, payload, stream, type }) => [stream.id, id, payload, type]),
      model.all.map(({ id, payload, stream }) => [stream, id, payload, typeOf(id)])
    )
    const positions = all.map(({ position }) => position)
    assert.deepStrictEqual([...positions].sort(Position.Order), positions)
    const after = positions.at(Math.min(skip, positions.length - 1)) ?? Position.start
    const rest = await real.run(
      Effect.flatMap(events, (store) => Stream.runCollect(store.readAll({ aggregates: [aggregate], pageSize, after })))
    )
    assert.deepStrictEqual(
      Chunk.toReadonlyArray(rest).map(({ id }) => id),
      all.filter(({ position }) => Order.greaterThan(Position.Order)(position, after)).map(({ id }) => id)
    )
  })
)

const paging = fc.record({
  wanted: fc.option(fc.subarray([...types, "absent"]), { nil: undefined }),
  excluded: fc.option(fc.subarray([...types, "absent"]), { nil: undefined }),
  others: fc.nat(2),
  partition: fc.option(fc.integer({ min: 1, max: 3 }).chain((of) => fc.nat(of - 1).map((index) => ({ index, of })))),
  limit: fc.integer({ min: 1, max: 7 })
}).map(({ excluded, limit, others, partition, wanted }) =>
  command(`pages(${JSON.stringify({ excluded, limit, others, partition, wanted })})`, async (model, real) => {
    const filter = {
      aggregates: [model.aggregate, ...Array.from({ length: others }, (_, n) => `${model.aggregate}-${n}`)],
      types: wanted,
      excludedTypes: excluded && [
        { aggregate: model.aggregate, types: excluded },
        { aggregate: `${model.aggregate}-0`, types }
      ],
      partition: partition ?? undefined
    }
    const streamOf = (id: string) => StreamId.make(model.aggregate, id)
    const { listed, pages } = await real.run(Effect.flatMap(events, (store) =>
      Effect.gen(function*() {
        const settles = Effect.repeat(Stream.runCount(store.readAll({ aggregates: [model.aggregate] })), {
          until: (count) => count >= model.all.length,
          schedule: Schedule.spaced("10 millis").pipe(Schedule.upTo("10 seconds"))
        })
        yield* Effect.withClock(settles, Clock.make())
        const pages = [yield* store.readPage({ ...filter, limit })]
        while (!pages[pages.length - 1].atEnd) {
          pages.push(yield* store.readPage({ ...filter, limit, after: pages[pages.length - 1].settled }))
        }
        return { listed: yield* store.streams({ aggregate: model.aggregate }), pages }
      })))
    assert.deepStrictEqual(
      pages.flatMap((page) => page.events.map(({ id }) => id)),
      model.all.filter(({ id, stream }) =>
        (wanted?.includes(typeOf(id)) ?? true) &&
        excluded?.includes(typeOf(id)) !== true &&
        (partition === null || StreamId.partition(streamOf(stream), partition.of) === partition.index)
      ).map(({ id }) => id)
    )
    const ids = Array.from(new Set(model.all.map(({ stream }) => stream))).sort()
    assert.deepStrictEqual(listed, ids.map((id) => ({ id, version: model.of(id).length })))
  })
)

const schemaVersions = fc.integer({ min: 1, max: 4 })

const saving = fc.tuple(streamIds, fc.nat(9), schemaVersions).map(([id, version, schemaVersion]) =>
  command(`save(${id}, version ${version}, schema version ${schemaVersion})`, async (model, real) => {
    const snapshot = {
      stream: StreamId.make(model.aggregate, id),
      version,
      eventId: `e${version % 3}`,
      schemaVersion,
      fingerprint: "f",
      state: `{"at":${version}}`,
      time: version
    }
    const outcome = await real.run(Effect.flatMap(snapshots, (store) => store.save(snapshot)))
    assert.strictEqual(outcome, model.save(snapshot))
  })
)

const getting = fc.tuple(streamIds, schemaVersions).map(([id, schemaVersion]) =>
  command(`get(${id}, schema version ${schemaVersion})`, async (model, real) => {
    const stream = StreamId.make(model.aggregate, id)
    const { any, found, one } = await real.run(Effect.flatMap(snapshots, (store) =>
      Effect.all({
        found: store.get(stream, { schemaVersion }),
        one: store.exists(stream, { schemaVersion }),
        any: store.exists(stream)
      })))
    const wanted = model.get(id, schemaVersion)
    assert.deepStrictEqual(Option.getOrUndefined(found), wanted)
    assert.strictEqual(any, wanted !== undefined)
    assert.strictEqual(one, model.snapshots.has(`${id} ${schemaVersion}`))
  })
)

const deleting = fc.tuple(
  streamIds,
  fc.option(schemaVersions, { nil: undefined }),
  fc.option(fc.nat(9), { nil: undefined })
).map(([id, schemaVersion, version]) =>
  command(`delete(${id}, schema version ${schemaVersion}, version ${version})`, async (model, real) => {
    const count = await real.run(Effect.flatMap(snapshots, (store) =>
      store.delete(StreamId.make(model.aggregate, id), {
        schemaVersion,
        identity: version === undefined ? undefined : { version, eventId: `e${version % 3}` }
      })))
    let wanted = 0
    for (const [key, row] of Array.from(model.snapshots)) {
      if (row.stream.id !== id || (schemaVersion !== undefined && row.schemaVersion !== schemaVersion)) continue
      if (version !== undefined && row.version !== version) continue
      model.snapshots.delete(key)
      wanted++
    }
    assert.strictEqual(count, wanted)
  })
)

const deletingByType = fc.tuple(fc.option(schemaVersions, { nil: undefined }), fc.boolean()).map(([below, dryRun]) =>
  command(`deleteByType(below ${below}, dry run ${dryRun})`, async (model, real) => {
    const count = await real.run(
      Effect.flatMap(snapshots, (store) => store.deleteByType(model.aggregate, { schemaVersionBelow: below, dryRun }))
    )
    const gone = Array.from(model.snapshots).filter(([, row]) => below === undefined || row.schemaVersion < below)
    if (!dryRun) { for (const [key] of gone) model.snapshots.delete(key) }
    assert.strictEqual(count, gone.length)
  })
)

const programs = fc.commands(
  [
    appending,
    appending,
    appendingTogether,
    importing,
    reading,
    feeding,
    paging,
    saving,
    saving,
    getting,
    deleting,
    deletingByType
  ],
  { maxCommands: 40 }
)

// every append of these is in a group
const inGroups: typeof backends = [
  ["SQLite :memory:, in groups", Layer.provide(groupingStores, sqliteFile(":memory:"))],
  ["SQLite file, in groups", Layer.provide(groupingStores, sqliteTemporaryFile)],
  ["PostgreSQL, in groups", Layer.provide(groupingStores, postgresTemporaryDatabase)]
]

for (const [name, layer] of [...backends, ...inGroups.slice(0, everything ? 3 : 1)]) {
  describe(`stores and their model: ${name}`, () => {
    const runtime = ManagedRuntime.make(Layer.orDie(layer))
    beforeAll(() => runtime.runPromise(Effect.void))
    afterAll(() => runtime.dispose())
    it("agree on any sequence of calls", () =>
      fc.assert(
        fc.asyncProperty(programs, (commands) =>
          fc.asyncModelRun(() => ({
            model: new Model(`model-${crypto.randomUUID()}`),
            real: { inOrder: name !== "PostgreSQL", run: (effect) => runtime.runPromise(effect) }
          }), commands)),
        { numRuns: everything ? 150 : 40 }
      ))
  })
}
