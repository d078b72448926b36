/**
 * Stores in memory that tell what was done with them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../Event.js"
import * as EventStore from "../EventStore.js"
import type * as Snapshot from "../Snapshot.js"
import * as SnapshotStore from "../SnapshotStore.js"
import type * as StreamId from "../StreamId.js"

/**
 * What was done with the stores that {@link layer} gives.
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
  /** Every call, in the order in which they ended. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** How often each operation was called. */
  readonly counts: Effect.Effect<Counts>
  /** The events that appends added, in order. What a repeated append found in place is not among them. */
  readonly appended: Effect.Effect<ReadonlyArray<Appended>>
  /** The snapshots that were saved. A superseded one is not among them. */
  readonly saved: Effect.Effect<ReadonlyArray<Snapshot.EncodedSnapshot>>
  /** What was read to load aggregates. */
  readonly loads: Effect.Effect<ReadonlyArray<Load>>
  /** Forgets the calls so far; the stores keep what they hold. */
  readonly forget: Effect.Effect<void>
}>() {}

/**
 * One event that was appended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended extends Event.ProposedEvent {
  readonly stream: StreamId.StreamId
  readonly version: number
}

/**
 * What one load read of a stream, page by page.
 *
 * @since 0.1.0
 * @category models
 */
export interface Load {
  readonly stream: StreamId.StreamId
  /** The version of the snapshot that the load went on from; 0 where it found none, or refuted the one it found. */
  readonly snapshot: number
  /** The version of the state in the repository's `cache` that it went on from, without a look at snapshots; else 0. */
  readonly cached: number
  /** The versions of the events that it read after that, and folded. */
  readonly tail: ReadonlyArray<number>
}

/**
 * One call of a store.
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
  | { readonly operation: "readAll" }
  | { readonly operation: "version"; readonly stream: StreamId.StreamId; readonly outcome: Outcome<number> }
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
 * How a call ended: a `Success`, or a `Failure` with its cause.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome<A> = Exit.Exit<A, unknown>

/**
 * @since 0.1.0
 * @category models
 */
export type Counts = { readonly [Operation in Call["operation"]]: number }

/**
 * Both stores in memory, and {@link Stores} to ask what was done with them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore | Stores> = Layer.effectContext(
  Effect.gen(function*() {
    const events = yield* EventStore.makeMemory
    const snapshots = yield* SnapshotStore.makeMemory
    let calls: Array<Call> = []
    const loads = makeLoads()

    const noted = <A, E, R>(effect: Effect.Effect<A, E, R>, call: (outcome: Exit.Exit<A, E>) => Call) =>
      Effect.onExit(effect, (exit) => Effect.sync(() => void calls.push(call(exit))))
    const now = (call: Call) => Stream.drain(Stream.fromEffect(Effect.sync(() => void calls.push(call))))

    return Context.make(
      EventStore.EventStore,
      EventStore.EventStore.of({
        ...events,
        append: (stream, added, options) =>
          noted(events.append(stream, added, options), (exit) => ({
            operation: "append",
            stream,
            events: added,
            outcome: Exit.map(exit, ({ version }) => version)
          })),
        read: (stream, options) => Stream.concat(now({ operation: "read", stream }), events.read(stream, options)),
        readAll: (options) => Stream.concat(now({ operation: "readAll" }), events.readAll(options)),
        version: (stream) => noted(events.version(stream), (outcome) => ({ operation: "version", stream, outcome })),
        replay: {
          ...events.replay,
          readTail: (stream, options) =>
            noted(events.replay.readTail(stream, options), (exit) => ({
              operation: "readTail",
              stream,
              fromVersion: options.fromVersion,
              outcome: Exit.map(exit, (page) => page.map(({ version }) => version))
            })).pipe(
              Effect.tap((page) => loads.read(stream, { ...options, versions: page.map(({ version }) => version) }))
            )
        }
      })
    ).pipe(
      Context.add(
        SnapshotStore.SnapshotStore,
        SnapshotStore.SnapshotStore.of({
          ...snapshots,
          get: (stream, options) =>
            noted(snapshots.get(stream, options), (outcome) => ({ operation: "get", stream, outcome })).pipe(
              Effect.tap((found) => loads.begin(stream, Option.getOrUndefined(found)?.version ?? 0)),
              Effect.tapErrorCause(() => loads.begin(stream, 0))
            ),
          save: (snapshot) =>
            noted(snapshots.save(snapshot), (outcome) => ({
              operation: "save",
              stream: snapshot.stream,
              snapshot,
              outcome
            })),
          delete: (stream, options) =>
            noted(snapshots.delete(stream, options), (outcome) => ({ operation: "delete", stream, outcome })),
          exists: (stream, options) =>
            noted(snapshots.exists(stream, options), (outcome) => ({ operation: "exists", stream, outcome })),
          deleteByType: (aggregate, options) =>
            noted(
              snapshots.deleteByType(aggregate, options),
              (outcome) => ({ operation: "deleteByType", aggregate, outcome })
            )
        })
      ),
      Context.add(
        Stores,
        Stores.of({
          calls: Effect.sync(() => [...calls]),
          counts: Effect.sync(() => countsOf(calls)),
          appended: Effect.sync(() => appendedBy(calls)),
          saved: Effect.sync(() =>
            calls.flatMap((call) =>
              call.operation === "save" && Exit.isSuccess(call.outcome) && call.outcome.value === "Saved"
                ? [call.snapshot]
                : []
            )
          ),
          loads: loads.all,
          forget: Effect.sync(() => {
            calls = []
            loads.forget()
          })
        })
      )
    )
  })
)

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const countsOf = (calls: ReadonlyArray<Call>): Counts => {
  const counts = {
    append: 0,
    readTail: 0,
    read: 0,
    readAll: 0,
    version: 0,
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

interface Loading {
  readonly stream: StreamId.StreamId
  readonly found: number
  readonly cached: number
  snapshot: number
  tail: ReadonlyArray<number>
  /**
   * How many events its first read asked for, none before that: each further one asks for one more than a page, as it
   * begins with the last.
   */
  limit: number | undefined
}

const makeLoads = () => {
  let loads: Array<Loading> = []
  // a fiber loads one aggregate after the other; what it forks begins loads of its own
  const current = FiberRef.unsafeMake<Loading | undefined>(undefined)

  const begin = (
    stream: StreamId.StreamId,
    found: number,
    read: { readonly cached: number; readonly tail: ReadonlyArray<number>; readonly limit: number } | undefined
  ): Effect.Effect<void> =>
    Effect.suspend(() => {
      const load: Loading = {
        stream,
        found,
        cached: 0,
        snapshot: 0,
        tail: [],
        limit: undefined,
        ...read
      }
      loads.push(load)
      return FiberRef.set(current, load)
    })

  // a load asks for a snapshot, and reads from its version on if it can use it; where it cannot, or finds that the stream
  // holds another event there, it reads from version 1. Further pages begin with the last event that it has.
  const readBy = (
    load: Loading | undefined,
    fromVersion: number,
    versions: ReadonlyArray<number>,
    limit: number
  ): boolean => {
    if (load === undefined) return false
    const after = load.tail.at(-1) ?? Math.max(load.snapshot, load.cached)
    if (load.limit === undefined && load.found > 0 && fromVersion === load.found) {
      load.snapshot = load.found
      // the event at the snapshot's own version is the proof, and is not folded
      load.tail = versions.filter((version) => version > load.found)
    } else if (load.limit !== undefined && fromVersion === after && limit > load.limit) {
      load.tail = [...load.tail, ...versions.filter((version) => version > after)]
      return true
    } else if (fromVersion === 1) {
      if (load.limit !== undefined && load.snapshot === 0) return false
      load.snapshot = 0
      load.tail = versions
    } else {
      return false
    }
    load.limit = limit
    return true
  }

  return {
    begin: (stream: StreamId.StreamId, found: number) => begin(stream, found, undefined),
    read: (
      stream: StreamId.StreamId,
      { fromVersion, limit, versions }: {
        readonly fromVersion: number
        readonly limit: number
        readonly versions: ReadonlyArray<number>
      }
    ): Effect.Effect<void> =>
      Effect.flatMap(FiberRef.get(current), (load) => {
        // a look at one event: no load asks for less than two
        if (limit === 1) return Effect.void
        const mine = load?.stream.aggregate === stream.aggregate && load.stream.id === stream.id ? load : undefined
        if (readBy(mine, fromVersion, versions, limit)) return Effect.void
        if (fromVersion === 1) return begin(stream, 0, { cached: 0, tail: versions, limit })
        // the rest are cached states that the stream does not bear out
        return versions[0] === fromVersion && versions.length < limit
          ? begin(stream, 0, { cached: fromVersion, tail: versions.slice(1), limit })
          : Effect.void
      }),
    all: Effect.sync((): ReadonlyArray<Load> =>
      loads.map(({ cached, snapshot, stream, tail }) => ({ stream, snapshot, cached, tail }))
    ),
    forget: () => {
      loads = []
    }
  }
}
