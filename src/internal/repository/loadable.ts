import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Aggregate from "../../Aggregate.js"
import * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import type { StateSchema } from "../../SnapshotStore.js"
import * as StreamId from "../../StreamId.js"
import { shortPage } from "../constants.js"
import { isEmptied } from "../emptied.js"
import * as Markers from "../markers.js"
import * as DerivedId from "../schema/derivedId.js"
import { unknownType } from "../schema/eventCodec.js"
import * as Json from "../schema/json.js"
import { holdsPersonal } from "../schema/secrets.js"
import { gapBefore, IdEncodeError } from "./errors.js"

export type Page = ReadonlyArray<EventStore.TailEvent>

/** Tells whether more events may follow a page that was read with a limit. */
export const isContinued = (page: Page, limit: number): boolean =>
  page.length === limit || page[page.length - 1]?.continued === true

/** A state and the version up to which it is folded. */
export interface Folded<out State> {
  readonly state: State
  readonly version: number
  /** The id of the last event. `null`: the page did not give it. */
  readonly eventId: string | null
  /** The time of the last event in milliseconds since 1970. `null`: the page did not give it. */
  readonly time: number | null
  /** The number of events that were read and folded. */
  readonly replayed: number
}

/** What a fold knows of the events that it has folded before a page. */
export interface Read {
  /** The version of the state that it began with. The events up to it were read at some earlier time. */
  readonly base: number
  /** The version of a marker that was stored before the fold read its first page. */
  readonly marker: number
}

/** A marker of the page says that an event was rewritten which the fold may have read as it was before. */
export class Outdated extends Data.TaggedError("Outdated")<{
  /** The version of the marker. */
  readonly marker: number
  /** Whether the event is a part of the state that the fold began with. */
  readonly inBase: boolean
}> {}

/** The content of an event is gone. A snapshot that the load has not seen may be the reason. */
export class Emptied extends Data.TaggedError("Emptied")<{ readonly gap: EventStore.HistoryGap }> {}

// texts that are folded once more were checked when they were read
const again: Read = { base: 0, marker: Infinity }

export type FoldError = EventStore.EventDecodeError | EventStore.HistoryGap | EventStore.StreamDeleted

/** The part of an aggregate that a load needs. */
export interface Loadable<in Id, in out State> {
  readonly name: string
  readonly schemaVersion: number
  readonly fingerprint: string
  readonly migratable: ReadonlyArray<StateSchema>
  readonly streamOf: (id: Id) => Either.Either<StreamId.StreamId, IdEncodeError>
  readonly initial: (id: Id) => State
  readonly fold: (
    stream: StreamId.StreamId,
    from: Folded<State>,
    page: Page,
    read?: Read
  ) => Either.Either<Folded<State>, FoldError | Outdated | Emptied>
  readonly encode: (
    options: Snapshot.EncodeOptions<State>
  ) => Either.Either<Snapshot.EncodedSnapshot, Snapshot.StateEncodeError>
  readonly decode: (
    encoded: Snapshot.EncodedSnapshot
  ) => Either.Either<Snapshot.Snapshot<State>, Snapshot.DecodeFailure>
  /** Gives a state as text. Exists if the state may have personal data. */
  readonly toText: Option.Option<(state: State) => Either.Either<string, unknown>>
}

export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  onDrift: "replay" | "decode"
): Loadable<Id, State> => ({
  name: aggregate.name,
  schemaVersion: aggregate.schemaVersion,
  fingerprint: aggregate.fingerprint,
  migratable: aggregate.migrations.map(({ fingerprint, version }) => ({ schemaVersion: version, fingerprint })),
  streamOf: (id) =>
    Either.mapBoth(aggregate.id.encode(id), {
      onLeft: (cause) => new IdEncodeError({ aggregate: aggregate.name, cause }),
      onRight: (encoded) => StreamId.make(aggregate.name, encoded)
    }),
  initial: aggregate.initial,
  fold: (stream, from, page, read) => foldPage(aggregate, stream, from, page, read),
  encode: (options) => Snapshot.encode(aggregate, options),
  decode: (encoded) => Snapshot.decode(aggregate, encoded, { onDrift }),
  toText: holdsPersonal(aggregate.state.schema.ast)
    ? Option.some((state) => Either.flatMap(aggregate.state.encode(state), Json.stringify))
    : Option.none()
})

/** Folds a page of events onto a state, without an Effect per event. */
export const foldPage = <State, Event>(
  aggregate: {
    readonly event: Aggregate.EventCodec<Event>
    readonly evolve: (state: State, event: Event) => State
  },
  stream: StreamId.StreamId,
  from: Folded<State>,
  page: Page,
  read: Read = again
): Either.Either<Folded<State>, FoldError | Outdated | Emptied> => {
  const codec = aggregate.event
  let { eventId, state, time, version } = from
  for (const event of page) {
    if (event.version !== version + 1) return Either.left(gapBefore(stream, version + 1, event))
    if (isEmptied(event)) {
      const { version } = event
      const gap = new EventStore.HistoryGap({ stream, expected: version, actual: version, removed: true })
      return Either.left(new Emptied({ gap }))
    }
    const decode = codec.decoder(event.type)
    if (decode === undefined) {
      const refused = markerProblem(stream, event, from.version, read)
      if (refused !== undefined) return Either.left(refused)
    }
    // a retired event counts as a version of the stream, and does not change the state
    if (decode !== undefined || !codec.isRetired(event.type)) {
      const decoded = decode === undefined ? Either.left(unknownType(codec.types)) : decodeEvent(decode, event)
      if (Either.isLeft(decoded)) {
        const { eventId, type, version } = event
        const cause = decoded.left
        return Either.left(
          new EventStore.EventDecodeError({ stream, version, type, ...(eventId === null ? {} : { eventId }), cause })
        )
      }
      state = aggregate.evolve(state, decoded.right)
    }
    version = event.version
    eventId = event.eventId
    time = event.time
  }
  return Either.right({ state, version, eventId, time, replayed: from.replayed + page.length })
}

/** Why the fold cannot go on at an event that is perhaps a marker. The events up to `before` were not in this page. */
const markerProblem = (
  stream: StreamId.StreamId,
  { eventId, payload, type, version }: EventStore.TailEvent,
  before: number,
  { base, marker }: Read
): FoldError | Outdated | undefined => {
  if (type === Markers.deleted) return new EventStore.StreamDeleted({ stream })
  if (type !== Markers.rewritten) return undefined
  const json = Json.parse(payload)
  const rewritten = Either.isRight(json) ? Markers.versionIn(json.right) : undefined
  if (rewritten === undefined) {
    const cause = new Error("the marker names no version")
    return new EventStore.EventDecodeError({ stream, version, type, ...(eventId === null ? {} : { eventId }), cause })
  }
  const inBase = rewritten <= base
  return inBase || (rewritten <= before && version > marker) ? new Outdated({ marker: version, inBase }) : undefined
}

const decodeEvent = <Event>(
  decode: (payload: unknown) => Either.Either<Event, Error>,
  event: EventStore.TailEvent
): Either.Either<Event, Error> => {
  const payload = Json.parse(event.payload)
  return Either.isLeft(payload) ? Either.left(payload.left) : decode(payload.right)
}

/** The event that stands at a version. */
export type Place = Pick<EventStore.TailEvent, "eventId" | "time" | "version">

/**
 * Tells whether a page that was read from `place.version` on begins with its event. If not, the history changed. If the
 * event has a derived id and no known time, it may have changed.
 */
export const holds = (page: Page, place: Place): boolean => {
  const proof = proofOf(place)
  return proof !== null && page[0]?.version === place.version && proofOf(page[0]) === proof
}

/**
 * The text by which a state proves that the stream still has its history: the id of the last event, and its time if the
 * id is derived, from a command id or by an import. After a restore that lost events, a command may be sent again and be
 * stored on another history, under the same id and at the same version, but at another time. `null`: the id, or such a
 * time, is not known.
 */
export const proofOf = ({ eventId, time }: Pick<EventStore.TailEvent, "eventId" | "time">): string | null => {
  if (eventId === null || !DerivedId.isDerived(eventId)) return eventId
  return time === null ? null : DerivedId.proof(eventId, time)
}

/** Tells whether a page that was read from a snapshot's version on begins with the event that the snapshot names. */
export const proves = (
  page: Page,
  { eventId, version }: Pick<Snapshot.EncodedSnapshot, "eventId" | "version">
): boolean => page[0]?.version === version && proofOf(page[0]) === eventId

/** Asks the store whether a stream holds an event. */
export const stands = (
  events: EventStore.ReplaySeam,
  place: Place & { readonly stream: StreamId.StreamId }
): Effect.Effect<boolean, EventStore.EventStoreError> =>
  Effect.map(
    Effect.suspend(() => events.readTail(place.stream, { fromVersion: place.version, limit: 1 })),
    (page) => holds(page, place)
  )

/** Asks the store whether a stream holds an event, and no marker after it. The answer may be no if many events follow. */
export const standsUnmarked = (
  events: EventStore.ReplaySeam,
  place: Place & { readonly stream: StreamId.StreamId }
): Effect.Effect<boolean, EventStore.EventStoreError> =>
  Effect.map(
    Effect.suspend(() => events.readTail(place.stream, { fromVersion: place.version, limit: shortPage })),
    (page) =>
      holds(page, place) && !isContinued(page, shortPage) &&
      !page.some(({ type, version }) => version > place.version && Markers.isMarker(type))
  )
