/**
 * Records the calls of both stores in memory, for the assertions of a test.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../Event.js"
import * as EventStore from "../EventStore.js"
import * as Loads from "../internal/testing/loads.js"
import type * as Position from "../Position.js"
import type * as Snapshot from "../Snapshot.js"
import * as SnapshotStore from "../SnapshotStore.js"
import type * as StreamId from "../StreamId.js"

export type { Load } from "../internal/testing/loads.js"

/**
 * The calls of the stores that {@link layer} provides.
 *
 * @example
 * ```ts
 * import { Aggregate, Repository, SnapshotPolicy } from "effect-eventsourcing"
 * import { RecordingStores } from "effect-eventsourcing/testing"
 * import { Effect, Either, Schema } from "effect"
 * import * as assert from "node:assert/strict"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (count) => count + 1,
 *   decide: (_count, _command) => Either.right([{ _tag: "Counted" }])
 * })
 *
 * const test = Effect.gen(function*() {
 *   const counters = yield* Repository.make(Counter, { snapshots: SnapshotPolicy.manual })
 *   const stores = yield* RecordingStores.Stores
 *   const count = { _tag: "Count" } as const
 *   yield* counters.executeAll("a", [count, count, count])
 *   yield* counters.createSnapshot("a")
 *   yield* counters.executeAll("a", [count, count])
 *   yield* stores.forget
 *
 *   yield* counters.load("a")
 *   const [load] = yield* stores.loads
 *   assert.equal(load.snapshot, 3) // it used the snapshot at version 3,
 *   assert.deepEqual(load.tail, [4, 5]) // and replayed exactly the tail
 * })
 *
 * await Effect.runPromise(Effect.provide(Effect.scoped(test), RecordingStores.layer))
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class Stores extends Context.Tag("effect-eventsourcing/testing/Stores")<Stores, {
  /** Every call, in the order in which the calls ended. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** The number of calls of each operation. */
  readonly counts: Effect.Effect<Counts>
  /** The events that were appended, in order. A repeated append and an import add no events. */
  readonly appended: Effect.Effect<ReadonlyArray<Appended>>
  /** The snapshots that were saved. A superseded snapshot was not. */
  readonly saved: Effect.Effect<ReadonlyArray<Snapshot.EncodedSnapshot>>
  /** The loads of aggregates, with the events that they read. */
  readonly loads: Effect.Effect<ReadonlyArray<Loads.Load>>
  /** Forgets the recorded calls. The stores keep their events and snapshots. */
  readonly forget: Effect.Effect<void>
}>() {}

/**
 * An appended event.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended extends Event.ProposedEvent {
  readonly stream: StreamId.StreamId
  readonly version: number
}

/**
 * A call of a store.
 *
 * @since 0.1.0
 * @category models
 */
export type Call =
  | {
    readonly operation: "append"
    readonly stream: StreamId.StreamId
    readonly events: ReadonlyArray<Event.ProposedEvent>
    /** The version after it, or the failure. */
    readonly outcome: Outcome<number>
  }
  | {
    readonly operation: "readTail"
    readonly stream: StreamId.StreamId
    readonly fromVersion: number
    readonly outcome: Outcome<ReadonlyArray<number>>
  }
  | { readonly operation: "read"; readonly stream: StreamId.StreamId }
  | {
    readonly operation: "readEvents"
    readonly stream: StreamId.StreamId
    readonly outcome: Outcome<ReadonlyArray<Event.RecordedEvent>>
  }
  | { readonly operation: "readAll" }
  | { readonly operation: "readPage"; readonly outcome: Outcome<EventStore.Page> }
  | { readonly operation: "head"; readonly outcome: Outcome<Position.Position> }
  | { readonly operation: "countAfter"; readonly outcome: Outcome<EventStore.Counted> }
  | {
    readonly operation: "streams"
    readonly aggregate: string
    readonly outcome: Outcome<ReadonlyArray<EventStore.ListedStream>>
  }
  | { readonly operation: "import" }
  | { readonly operation: "version"; readonly stream: StreamId.StreamId; readonly outcome: Outcome<number> }
  | {
    readonly operation: "find"
    readonly eventIds: ReadonlyArray<string>
    readonly outcome: Outcome<ReadonlyArray<EventStore.FoundEvent>>
  }
  | {
    readonly operation: "get"
    readonly stream: StreamId.StreamId
    readonly outcome: Outcome<Option.Option<Snapshot.EncodedSnapshot>>
  }
  | {
    readonly operation: "save"
    readonly stream: StreamId.StreamId
    readonly snapshot: Snapshot.EncodedSnapshot
    readonly outcome: Outcome<SnapshotStore.SaveOutcome>
  }
  | { readonly operation: "delete"; readonly stream: StreamId.StreamId; readonly outcome: Outcome<number> }
  | { readonly operation: "exists"; readonly stream: StreamId.StreamId; readonly outcome: Outcome<boolean> }
  | { readonly operation: "deleteByType"; readonly aggregate: string; readonly outcome: Outcome<number> }

/**
 * The outcome of a call: a `Success`, or a `Failure` with its cause.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome<A> = Exit.Exit<A, unknown>

/**
 * The number of calls of each operation.
 *
 * @since 0.1.0
 * @category models
 */
export type Counts = { readonly [Operation in Call["operation"]]: number }

/**
 * Provides both stores in memory, and {@link Stores} with their calls.
 *
 * @example
 * ```ts
 * import { EventStore, ExpectedVersion, StreamId } from "effect-eventsourcing"
 * import { RecordingStores } from "effect-eventsourcing/testing"
 * import { Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const events = yield* EventStore.EventStore
 *   const event = { id: "1", type: "Opened", payload: null }
 *   yield* events.append(StreamId.make("Account", "a"), [event], { expectedVersion: ExpectedVersion.any })
 *   const { counts } = yield* RecordingStores.Stores
 *   console.assert((yield* counts).append === 1)
 * })
 *
 * await Effect.runPromise(Effect.provide(test, RecordingStores.layer))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore | Stores> = Layer.effectContext(
  Effect.gen(function*() {
    const events = yield* EventStore.makeMemory
    const snapshots = yield* SnapshotStore.makeMemory
    let calls: Array<Call> = []
    const loads = Loads.make()
    const record: Record = (effect, call) =>
      Effect.onExit(effect, (exit) => Effect.sync(() => void calls.push(call(exit))))
    const stores = Stores.of({
      calls: Effect.sync(() => [...calls]),
      counts: Effect.sync(() => countsOf(calls)),
      appended: Effect.sync(() => appendedBy(calls)),
      saved: Effect.sync(() => savedBy(calls)),
      loads: loads.all,
      forget: Effect.sync(() => {
        calls = []
        loads.forget()
      })
    })
    return Context.make(EventStore.EventStore, recordEvents(events, loads, record)).pipe(
      Context.add(SnapshotStore.SnapshotStore, recordSnapshots(snapshots, loads, record)),
      Context.add(Stores, stores)
    )
  })
)

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

type Record = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  call: (outcome: Exit.Exit<A, E>) => Call
) => Effect.Effect<A, E, R>

type LoadRecorder = ReturnType<typeof Loads.make>

const recordEvents = (events: EventStore.EventStore["Type"], loads: LoadRecorder, record: Record) => {
  const begin = (call: Call) => Stream.drain(Stream.fromEffect(record(Effect.void, () => call)))
  return EventStore.EventStore.of({
    ...events,
    append: (stream, added, options) =>
      record(events.append(stream, added, options), (exit) => ({
        operation: "append",
        stream,
        events: added,
        outcome: Exit.map(exit, ({ version }) => version)
      })),
    read: (stream, options) => Stream.concat(begin({ operation: "read", stream }), events.read(stream, options)),
    readEvents: (stream, options) =>
      record(events.readEvents(stream, options), (outcome) => ({ operation: "readEvents", stream, outcome })),
    readAll: (options) => Stream.concat(begin({ operation: "readAll" }), events.readAll(options)),
    readPage: (options) => record(events.readPage(options), (outcome) => ({ operation: "readPage", outcome })),
    head: record(events.head, (outcome) => ({ operation: "head", outcome })),
    countAfter: (after, options) =>
      record(events.countAfter(after, options), (outcome) => ({ operation: "countAfter", outcome })),
    streams: (options) =>
      record(events.streams(options), (outcome) => ({ operation: "streams", aggregate: options.aggregate, outcome })),
    version: (stream) => record(events.version(stream), (outcome) => ({ operation: "version", stream, outcome })),
    import: (imported, options) => Stream.concat(begin({ operation: "import" }), events.import(imported, options)),
    find: (eventIds) => record(events.find(eventIds), (outcome) => ({ operation: "find", eventIds, outcome })),
    replay: {
      ...events.replay,
      readTail: (stream, options) => {
        const versionsOf = (page: ReadonlyArray<EventStore.TailEvent>) => page.map(({ version }) => version)
        return record(events.replay.readTail(stream, options), (exit) => ({
          operation: "readTail",
          stream,
          fromVersion: options.fromVersion,
          outcome: Exit.map(exit, versionsOf)
        })).pipe(Effect.tap((page) => loads.read(stream, { ...options, versions: versionsOf(page) })))
      }
    }
  })
}

const recordSnapshots = (snapshots: SnapshotStore.SnapshotStore["Type"], loads: LoadRecorder, record: Record) =>
  SnapshotStore.SnapshotStore.of({
    get: (stream, options) =>
      record(snapshots.get(stream, options), (outcome) => ({ operation: "get", stream, outcome })).pipe(
        Effect.tap((found) => loads.begin(stream, Option.getOrUndefined(found)?.version ?? 0)),
        Effect.tapErrorCause(() => loads.begin(stream, 0))
      ),
    save: (snapshot) => {
      const { stream } = snapshot
      return record(snapshots.save(snapshot), (outcome) => ({ operation: "save", stream, snapshot, outcome }))
    },
    delete: (stream, options) =>
      record(snapshots.delete(stream, options), (outcome) => ({ operation: "delete", stream, outcome })),
    exists: (stream, options) =>
      record(snapshots.exists(stream, options), (outcome) => ({ operation: "exists", stream, outcome })),
    deleteByType: (aggregate, options) =>
      record(
        snapshots.deleteByType(aggregate, options),
        (outcome) => ({ operation: "deleteByType", aggregate, outcome })
      )
  })

const countsOf = (calls: ReadonlyArray<Call>): Counts => {
  const counts = {
    append: 0,
    readTail: 0,
    read: 0,
    readEvents: 0,
    readAll: 0,
    readPage: 0,
    head: 0,
    countAfter: 0,
    streams: 0,
    version: 0,
    find: 0,
    import: 0,
    get: 0,
    save: 0,
    delete: 0,
    exists: 0,
    deleteByType: 0
  }
  for (const { operation } of calls) counts[operation]++
  return counts
}

const appendedBy = (calls: ReadonlyArray<Call>): ReadonlyArray<Appended> => {
  const appended: Array<Appended> = []
  const ids = new Set<string>()
  for (const call of calls) {
    if (call.operation !== "append" || !Exit.isSuccess(call.outcome)) continue
    const first = call.outcome.value - call.events.length + 1
    for (const [index, event] of call.events.entries()) {
      if (!ids.has(event.id)) appended.push({ ...event, stream: call.stream, version: first + index })
      ids.add(event.id)
    }
  }
  return appended
}

const savedBy = (calls: ReadonlyArray<Call>): ReadonlyArray<Snapshot.EncodedSnapshot> =>
  calls.flatMap((call) =>
    call.operation === "save" && Exit.isSuccess(call.outcome) && call.outcome.value === "Saved" ? [call.snapshot] : []
  )
