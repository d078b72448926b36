import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Aggregate from "../Aggregate.js"
import * as EventStore from "../EventStore.js"
import * as Snapshot from "../Snapshot.js"
import type { SnapshotStore } from "../SnapshotStore.js"
import * as StreamId from "../StreamId.js"
import { type Folded, foldPage } from "./fold.js"

/** @internal */
export type LoadError = EventStore.EventDecodeError | EventStore.HistoryGap | EventStore.EventStoreError

/** @internal */
export interface Baseline<out State> extends Folded<State> {
  readonly stream: StreamId.StreamId
  readonly snapshotVersion: number
  readonly outcome: Snapshot.SnapshotOutcome
  /** The snapshot of the aggregate's own schema version that this load refuted: it must go before another is saved. */
  readonly refuted: Option.Option<{ readonly version: number; readonly eventId: string }>
}

/** @internal */
export interface Loader<in Id, in out State> {
  readonly load: (id: Id) => Effect.Effect<Baseline<State>, LoadError>
  /** The events appended since, folded onto a state in hand. */
  readonly advance: (baseline: Baseline<State>) => Effect.Effect<Baseline<State>, LoadError>
}

/**
 * Loads by the newest snapshot that proves itself, and by full replay otherwise.
 *
 * @internal
 */
export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: {
    readonly events: EventStore.EventStore["Type"]
    readonly snapshots: Option.Option<SnapshotStore["Type"]>
    readonly pageSize: number
    readonly timeout: Duration.DurationInput
  }
): Loader<Id, State> => {
  const { events, pageSize: limit, snapshots, timeout } = options
  const { fingerprint, schemaVersion } = aggregate

  const fold = (
    stream: StreamId.StreamId,
    from: Folded<State>,
    page: ReadonlyArray<EventStore.TailEvent>,
    more: boolean
  ): Effect.Effect<Folded<State>, LoadError> =>
    Effect.suspend(() => {
      const folded = foldPage(aggregate, stream, from, page)
      if (Either.isLeft(folded)) return Effect.fail(folded.left)
      return more
        // a long replay lets other fibers run between its pages
        ? Effect.zipRight(Effect.yieldNow(), readOn(stream, folded.right))
        : Effect.succeed(folded.right)
    })

  const readOn = (stream: StreamId.StreamId, from: Folded<State>): Effect.Effect<Folded<State>, LoadError> =>
    Effect.flatMap(
      events.readTail(stream, { fromVersion: from.version + 1, limit }),
      (page) => page.length === 0 ? Effect.succeed(from) : fold(stream, from, page, page.length === limit)
    )

  const replay = (
    id: Id,
    stream: StreamId.StreamId,
    outcome: Snapshot.SnapshotOutcome,
    found?: {
      /** The events from version 1 on, where they are at hand. */
      readonly page?: ReadonlyArray<EventStore.TailEvent> | undefined
      readonly refuted?: Snapshot.Encoded | undefined
    }
  ): Effect.Effect<Baseline<State>, LoadError> => {
    const start: Folded<State> = { state: aggregate.initial(id), version: 0, eventId: null, replayed: 0 }
    const page = found?.page
    return Effect.map(
      page === undefined ? readOn(stream, start) : fold(stream, start, page, page.length === limit),
      (folded) => ({
        ...folded,
        stream,
        snapshotVersion: 0,
        outcome,
        refuted: Option.fromNullable(found?.refuted)
      })
    )
  }

  const useSnapshot = (
    id: Id,
    stream: StreamId.StreamId,
    encoded: Snapshot.Encoded,
    page: ReadonlyArray<EventStore.TailEvent>
  ): Effect.Effect<Baseline<State>, LoadError> => {
    const decoded = Snapshot.decode(aggregate, encoded)
    if (Either.isLeft(decoded)) {
      const failure = decoded.left
      switch (failure._tag) {
        // no tail of such a snapshot was read, but the events from version 1 on
        case "SchemaVersionMismatch":
          return replay(id, stream, failure, { page })
        case "SchemaDrift":
          return replay(id, stream, failure, { page, refuted: encoded })
        case "StateDecodeError":
          return replay(id, stream, failure, { refuted: encoded })
      }
    }
    const { eventId, state, version } = decoded.right
    const [proof, ...tail] = page
    if (proof === undefined || proof.version !== version || proof.eventId !== eventId) {
      const actual = proof?.version === version ? proof.eventId : null
      const failure = new Snapshot.HistoryMismatch({ stream, version, expected: eventId, actual })
      return replay(id, stream, failure, { refuted: encoded })
    }
    return Effect.map(
      fold(stream, { state, version, eventId, replayed: 0 }, tail, page.length === limit),
      (folded) => ({ ...folded, stream, snapshotVersion: version, outcome: { _tag: "Hit" }, refuted: Option.none() })
    )
  }

  type Found = {
    readonly snapshot: Either.Either<Option.Option<Snapshot.Encoded>, Snapshot.StoreUnavailable>
    readonly page: ReadonlyArray<EventStore.TailEvent>
  }

  const withoutSnapshot = (
    stream: StreamId.StreamId,
    cause: unknown
  ): Effect.Effect<Found, EventStore.EventStoreError> =>
    Effect.map(events.readTail(stream, { fromVersion: 1, limit }), (page) => ({
      snapshot: Either.left(new Snapshot.StoreUnavailable({ stream, cause })),
      page
    }))

  const readAtOnce = (reader: EventStore.SnapshotReader) => (stream: StreamId.StreamId) =>
    reader(stream, { schemaVersion, fingerprint, limit }).pipe(
      Effect.map(({ events, snapshot }): Found => ({ snapshot: Either.right(snapshot), page: events })),
      // the snapshot's half of the statement may be what failed
      Effect.catchAll((error) => withoutSnapshot(stream, error))
    )

  const readInTurn = (snapshots: SnapshotStore["Type"]) => (stream: StreamId.StreamId) =>
    contain(snapshots.get(stream, { schemaVersion }), timeout).pipe(
      Effect.flatMap((snapshot): Effect.Effect<Found, EventStore.EventStoreError> => {
        if (Either.isLeft(snapshot)) return withoutSnapshot(stream, snapshot.left)
        const fromVersion = Option.match(
          Option.filter(
            snapshot.right,
            (found) => found.schemaVersion === schemaVersion && found.fingerprint === fingerprint && found.version >= 1
          ),
          { onNone: () => 1, onSome: (found) => found.version }
        )
        return Effect.map(events.readTail(stream, { fromVersion, limit }), (page) => ({
          snapshot: Either.right(snapshot.right),
          page
        }))
      })
    )

  const read = Option.map(snapshots, (snapshots) =>
    Option.match(events.withSnapshots(snapshots), {
      onNone: () => readInTurn(snapshots),
      onSome: readAtOnce
    }))

  const load = (id: Id): Effect.Effect<Baseline<State>, LoadError> =>
    Effect.suspend(() => {
      const encodedId = aggregate.id.encode(id)
      if (Either.isLeft(encodedId)) {
        return new EventStore.EventStoreError({
          operation: "read",
          reason: "InvalidInput",
          mayHaveAppended: false,
          detail: `the id of the ${aggregate.name} does not encode: ${encodedId.left.message}`,
          cause: encodedId.left
        })
      }
      const stream = StreamId.make(aggregate.name, encodedId.right)
      if (Option.isNone(read)) return replay(id, stream, { _tag: "Disabled" })
      return Effect.flatMap(read.value(stream), ({ page, snapshot }) =>
        Either.match(snapshot, {
          onLeft: (failure) => replay(id, stream, failure, { page }),
          onRight: Option.match({
            onNone: () => replay(id, stream, { _tag: "None" }, { page }),
            onSome: (encoded) => useSnapshot(id, stream, encoded, page)
          })
        }))
    })

  return {
    load,
    advance: (baseline) => Effect.map(readOn(baseline.stream, baseline), (folded) => ({ ...baseline, ...folded }))
  }
}

/**
 * Runs what is only an optimisation: whatever it does, fail, die or hang, comes back as a value.
 *
 * @internal
 */
export const contain = <A, E>(
  effect: Effect.Effect<A, E>,
  timeout: Duration.DurationInput
): Effect.Effect<Either.Either<A, unknown>> =>
  effect.pipe(
    Effect.disconnect,
    Effect.timeoutFail({ duration: timeout, onTimeout: () => new Cause.TimeoutException("it took too long") }),
    Effect.matchCause({
      onFailure: (cause) => Either.left(Cause.squash(cause)),
      onSuccess: (value) => Either.right(value)
    })
  )
