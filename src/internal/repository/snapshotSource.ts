// Finds the snapshot of a stream, and proves that the stream still has the history that it was folded from.
// The proof is the event at the snapshot's version: a stored snapshot names its id, and the tail begins with it.
// Costs one round trip if both stores share a database, else one call of the snapshot store and one read.
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import * as StreamId from "../../StreamId.js"
import { contain } from "./contain.js"
import { type Loadable, type Page, proofOf, proves } from "./loadable.js"
import * as Sealed from "./sealed.js"

export type Found<State> = Proved<State> | Unused

/** A snapshot to begin with, and the events from its own version on. */
export interface Proved<out State> {
  readonly _tag: "Proved"
  readonly snapshot: Snapshot.Snapshot<State>
  readonly encoded: Snapshot.EncodedSnapshot
  readonly page: Page
}

/** There is no snapshot to begin with. The page holds the events from version 1 on, if they were read already. */
export interface Unused {
  readonly _tag: "Unused"
  readonly outcome: Snapshot.SnapshotOutcome
  readonly page: Page | undefined
  /** The snapshot of the aggregate's own schema version that cannot be used. */
  readonly refuted: Option.Option<Snapshot.EncodedSnapshot>
}

/** Finds the snapshot of a stream, and reads at most `limit` events from its version on. */
export type Find<State> = (
  stream: StreamId.StreamId,
  options: {
    readonly limit: number
    /** Whether the beginning of the stream was removed. Then a snapshot with erased data is better than no state. */
    readonly isOnlySource: boolean
  }
) => Effect.Effect<Found<State>, EventStore.EventStoreError>

export const make = <Id, State>(aggregate: Loadable<Id, State>, options: {
  readonly events: EventStore.EventStore["Type"]
  readonly snapshots: Option.Option<SnapshotStore["Type"]>
  readonly timeout: Duration.DurationInput
  readonly onDrift: "replay" | "decode"
}): Find<State> =>
  Option.match(options.snapshots, {
    onNone: () => () => Effect.succeed(unused({ _tag: "Disabled" })),
    onSome: (snapshots) =>
      Option.match(options.events.replay.withSnapshots(snapshots), {
        onNone: () => findInTurn(aggregate, snapshots, options),
        onSome: ({ read }) => findAtOnce(aggregate, read, options)
      })
  })

const findAtOnce = <Id, State>(
  aggregate: Loadable<Id, State>,
  read: EventStore.SnapshotReader,
  { events, onDrift }: { readonly events: EventStore.EventStore["Type"]; readonly onDrift: "replay" | "decode" }
): Find<State> => {
  const { migratable, schemaVersion } = aggregate
  const fingerprint = onDrift === "decode" ? undefined : aggregate.fingerprint
  return (stream, { isOnlySource, limit }) =>
    Effect.map(
      events.replay.attempt(read(stream, { schemaVersion, fingerprint, migratable, limit })),
      Exit.match({
        onSuccess: ({ erased, events, snapshot }): Found<State> =>
          Option.isNone(snapshot)
            ? unused(none, events)
            : erased === true && !isOnlySource
            ? refuse(aggregate, snapshot.value, subjectErased(snapshot.value))
            : prove(aggregate, snapshot.value, events),
        // the failure may be that of the snapshot's half of the statement
        onFailure: (cause) => unused(new Snapshot.StoreUnavailable({ stream, cause: Cause.squash(cause) }))
      })
    )
}

const findInTurn = <Id, State>(
  aggregate: Loadable<Id, State>,
  snapshots: SnapshotStore["Type"],
  options: { readonly events: EventStore.EventStore["Type"]; readonly timeout: Duration.DurationInput }
): Find<State> => {
  const { migratable, schemaVersion } = aggregate
  return (stream, { isOnlySource, limit }) => {
    const get = Effect.filterOrFail(
      Effect.suspend(() => snapshots.get(stream, { schemaVersion, migratable })),
      isFound,
      () => new Error("its answer is not a snapshot")
    ).pipe(Effect.flatMap((found) => Sealed.open(options.events, found)))
    const tail = (fromVersion: number) => options.events.replay.readTail(stream, { fromVersion, limit })
    return Effect.flatMap(contain(get, options), (answer): ReturnType<Find<State>> => {
      if (Either.isLeft(answer)) {
        return Effect.succeed(unused(new Snapshot.StoreUnavailable({ stream, cause: answer.left })))
      }
      const { erased, snapshot } = answer.right
      if (Option.isNone(snapshot)) return Effect.map(tail(1), (page) => unused(none, page))
      const encoded = snapshot.value
      if (erased && !isOnlySource) return Effect.succeed(refuse(aggregate, encoded, subjectErased(encoded)))
      const decoded = aggregate.decode(encoded)
      return Either.isLeft(decoded)
        ? Effect.succeed(refuse(aggregate, encoded, decoded.left))
        : Effect.map(tail(encoded.version), (page) => proveDecoded(aggregate, encoded, decoded.right, page))
    })
  }
}

/** Decides whether a snapshot may be used, by the events that were read for it. */
export const prove = <Id, State>(
  aggregate: Loadable<Id, State>,
  encoded: Snapshot.EncodedSnapshot,
  page: Page
): Found<State> =>
  Either.match(aggregate.decode(encoded), {
    onRight: (snapshot) => proveDecoded(aggregate, encoded, snapshot, page),
    // for a snapshot of another schema the store gives the events from version 1 on, else those of its tail
    onLeft: (failure) => refuse(aggregate, encoded, failure, failure._tag === "StateDecodeError" ? undefined : page)
  })

const subjectErased = ({ stream, version }: Snapshot.EncodedSnapshot): Snapshot.SubjectErased =>
  new Snapshot.SubjectErased({ stream, version })

const proveDecoded = <State>(
  aggregate: { readonly schemaVersion: number },
  encoded: Snapshot.EncodedSnapshot,
  snapshot: Snapshot.Snapshot<State>,
  page: Page
): Found<State> => {
  if (proves(page, snapshot)) return { _tag: "Proved", snapshot, encoded, page }
  const { eventId, stream, version } = snapshot
  const actual = page[0]?.version === version ? proofOf(page[0]) : null
  return refuse(aggregate, encoded, new Snapshot.HistoryMismatch({ stream, version, expected: eventId, actual }))
}

/** Refuses a snapshot that has its proof, but was folded from an event that was rewritten. */
export const rewritten = (aggregate: { readonly schemaVersion: number }, encoded: Snapshot.EncodedSnapshot): Unused => {
  const { eventId, stream, version } = encoded
  return refuse(
    aggregate,
    encoded,
    new Snapshot.HistoryMismatch({ stream, version, expected: eventId, actual: eventId })
  )
}

const refuse = (
  aggregate: { readonly schemaVersion: number },
  encoded: Snapshot.EncodedSnapshot,
  outcome: Snapshot.SnapshotFailure,
  page?: Page
): Unused => ({
  _tag: "Unused",
  outcome,
  page,
  refuted: encoded.schemaVersion === aggregate.schemaVersion ? Option.some(encoded) : Option.none()
})

export const unused = (outcome: Snapshot.SnapshotOutcome, page?: Page): Unused => ({
  _tag: "Unused",
  outcome,
  page,
  refuted: Option.none()
})

export const none: Snapshot.SnapshotOutcome = { _tag: "None" }

// the store may be user-provided: its answer is validated
const isFound = Schema.is(Schema.OptionFromSelf(Schema.Struct({
  stream: StreamId.StreamId,
  version: Schema.Number,
  eventId: Schema.String,
  schemaVersion: Schema.Number,
  fingerprint: Schema.String,
  state: Schema.String,
  time: Schema.Number
})))
