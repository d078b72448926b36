// pages that are bounded by the length of their payloads
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck as fc, Layer, Option, Schema } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import { pageBytes } from "../src/internal/constants.js"
import * as Pages from "../src/internal/sql/pages.js"
import { kinds, on } from "./utils/backends.js"

const Noted = Schema.TaggedStruct("Noted", { text: Schema.String })
const Notes = Aggregate.make({
  name: "Notes",
  id: Schema.NonEmptyString,
  state: Schema.Struct({ length: Schema.Int, count: Schema.Int }),
  event: Noted,
  command: Noted,
  initial: () => ({ length: 0, count: 0 }),
  evolve: ({ count, length }, { text }) => ({ length: length + text.length, count: count + 1 }),
  decide: (_, command) => Either.right([command])
})

const write = (name: string, lengths: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    let version = 0
    while (version < lengths.length) {
      const some = lengths.slice(version, version + 200)
      const events = some.map((length) => ({
        id: crypto.randomUUID(),
        type: "Noted",
        payload: { _tag: "Noted", text: "é".repeat(length / 2) }
      }))
      yield* store.append(StreamId.make("Notes", name), events, { expectedVersion: ExpectedVersion.exact(version) })
      version += some.length
    }
  })

/** The store, which records the pages that a repository reads. */
const recording = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const pages: Array<ReadonlyArray<EventStore.TailEvent>> = []
  const record = <A>(page: A, events: ReadonlyArray<EventStore.TailEvent>): A => {
    pages.push(events)
    return page
  }
  const recorded: EventStore.EventStore["Type"] = {
    ...store,
    replay: {
      ...store.replay,
      readTail: (stream, options) => Effect.map(store.replay.readTail(stream, options), (page) => record(page, page)),
      withSnapshots: (snapshots) =>
        Option.map(store.replay.withSnapshots(snapshots), (shared) => ({
          ...shared,
          read: (stream, options) => Effect.map(shared.read(stream, options), (loaded) => record(loaded, loaded.events))
        }))
    }
  }
  return { pages, layer: Layer.succeed(EventStore.EventStore, recorded) }
})

const sizeOf = (page: ReadonlyArray<EventStore.TailEvent>) =>
  page.reduce((sum, { payload }) => sum + Buffer.byteLength(payload), 0)

const sum = (lengths: ReadonlyArray<number>) => lengths.reduce((sum, length) => sum + length / 2, 0)

const long = 6_000_000

const streams: Readonly<Record<string, ReadonlyArray<number>>> = {
  "all rather long": Array.from({ length: 450 }, () => 40_000),
  "two very long in the midst": Array.from({ length: 60 }, (_, n) => n === 20 || n === 40 ? long : 10),
  "very long at both ends": [long, 10, 10, long, long],
  "long ones among short ones": Array.from({ length: 300 }, (_, n) => n % 10 === 3 ? 150_000 : 2)
}

const databases = on(kinds.filter(([name]) => name !== "memory"))

describe("a replay of long events", () => {
  for (const [name, lengths] of Object.entries(streams)) {
    databases(`reads pages of bounded length: ${name}`, () =>
      Effect.gen(function*() {
        yield* write("a", lengths)
        const { layer, pages } = yield* recording
        const expected = { length: sum(lengths), count: lengths.length }
        const longest = Math.max(...lengths) + 100
        const check = (): void => {
          const known = new Set<number>()
          for (const page of pages) {
            // two events of any length
            assert.isAtMost(sizeOf(page), Math.max(pageBytes, 2 * longest))
            for (const { version } of page) known.add(version)
            for (const end of [page[0], page[page.length - 1]]) assert.isNotNull(end.eventId)
          }
          assert.strictEqual(known.size, lengths.length)
          pages.length = 0
        }
        yield* Effect.gen(function*() {
          for (const pageSize of lengths.length > 100 ? [undefined, 300] : [undefined, 2]) {
            const notes = yield* Repository.make(Notes, { snapshots: SnapshotPolicy.manual, pageSize })
            assert.deepInclude(yield* notes.load("a"), { state: expected, version: lengths.length })
            check()
          }
          const notes = yield* Repository.make(Notes, { snapshots: SnapshotPolicy.manual, cache: { capacity: 10 } })
          // the tail of a snapshot
          const snapshots = yield* SnapshotStore.SnapshotStore
          const first = yield* notes.loadAt("a", 1)
          yield* snapshots.save({
            stream: StreamId.make("Notes", "a"),
            version: 1,
            eventId: Option.getOrThrow(first.lastEventId),
            schemaVersion: 1,
            fingerprint: Notes.fingerprint,
            state: JSON.stringify(first.state),
            time: 0
          })
          pages.length = 0
          for (let n = 0; n < 2; n++) {
            assert.deepInclude(yield* notes.load("a"), { state: expected, version: lengths.length })
          }
          yield* notes.createSnapshot("a")
          assert.deepInclude(yield* notes.load("a"), { state: expected, replayed: 0 })
        }).pipe(Effect.provide(layer))
      }))
  }
})

describe("a bounded page", () => {
  it.effect.prop(
    "has as many events as fit, and at least two",
    {
      lengths: fc.array(fc.integer({ min: 1, max: 40_000_000 }), { maxLength: 30 }),
      limit: fc.integer({ min: 1, max: 5_000 })
    },
    ({ lengths, limit }) =>
      Effect.gen(function*() {
        let reads = 0
        const { continued, events } = yield* Pages.bounded(limit, ({ bytes, limit }) => {
          reads++
          return Effect.succeed({
            events: lengths.slice(0, limit).map((length, index) =>
              length <= bytes ? [index + 1, "type", "x".repeat(length), "id", 0] : [index + 1, "type", null, length, 0]
            )
          })
        })
        assert.isTrue(events.every((row) => row[2] !== null))
        assert.isAtMost(reads, 2)
        assert.isAtLeast(events.length, Math.min(2, limit, lengths.length))
        const most = Math.min(limit, lengths.length)
        if (events.length < most) assert.isTrue(continued)
        const size = lengths.slice(0, events.length).reduce((sum, length) => sum + length, 0)
        if (events.length > 2) assert.isAtMost(size, Math.max(pageBytes, 4_000 * limit))
        if (events.length < most) assert.isAbove(size + lengths[events.length], pageBytes)
      })
  )
})
