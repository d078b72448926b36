import * as Either from "effect/Either"
import type * as Aggregate from "../../Aggregate.js"
import type * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import type { StateSchema } from "../../SnapshotStore.js"
import * as StreamId from "../../StreamId.js"
import { IdEncodeError } from "./errors.js"
import { type Folded, foldPage } from "./fold.js"

export type Page = ReadonlyArray<EventStore.TailEvent>

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
    page: Page
  ) => Either.Either<Folded<State>, EventStore.EventDecodeError | EventStore.HistoryGap>
  readonly encode: (
    options: Snapshot.EncodeOptions<State>
  ) => Either.Either<Snapshot.EncodedSnapshot, Snapshot.StateEncodeError>
  readonly decode: (
    encoded: Snapshot.EncodedSnapshot
  ) => Either.Either<Snapshot.Snapshot<State>, Snapshot.DecodeFailure>
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
  fold: (stream, from, page) => foldPage(aggregate, stream, from, page),
  encode: (options) => Snapshot.encode(aggregate, options),
  decode: (encoded) => Snapshot.decode(aggregate, encoded, { onDrift })
})
