// Seals the personal data in the states that a repository keeps outside of the stores' own texts.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Aggregate from "../../Aggregate.js"
import type * as EventStore from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import type { KeyStoreError } from "../../KeyStore.js"
import type * as Snapshot from "../../Snapshot.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Personal from "../personal/driver.js"
import { concernsPersons } from "../schema/secrets.js"
import { quote } from "../text.js"
import type { Loadable } from "./loadable.js"

type Events = Pick<EventStore.EventStore["Type"], "replay">

/** Says why a repository cannot keep the personal data of an aggregate. */
export const problem = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  { replay }: Events
): InvalidOption | undefined =>
  Option.isNone(replay.sealing) && concernsPersons(aggregate)
    ? new InvalidOption({
      option: `EventStore of ${quote(aggregate.name)}`,
      value: "a store that does not seal personal data",
      expected: "one that is built with Personal.layer: the aggregate has fields with Personal.schema"
    })
    : undefined

/** Seals the state of a snapshot. */
export const state = (
  { replay }: Events,
  snapshot: Snapshot.EncodedSnapshot
): Effect.Effect<Snapshot.EncodedSnapshot, SnapshotStore.SnapshotStoreError> =>
  Option.match(replay.sealing, {
    onNone: () => Effect.succeed(snapshot),
    onSome: (sealing) =>
      Effect.mapError(Personal.sealState(sealing, snapshot), (cause) => {
        const { aggregate, id } = snapshot.stream
        return new SnapshotStore.SnapshotStoreError({
          operation: "save",
          aggregate,
          id,
          // the subject may have been erased since the state was read
          reason: "Unavailable",
          detail: `the state cannot be sealed: ${cause.message}`,
          cause
        })
      })
  })

/** Opens the state of a stored snapshot, and tells whether it has data of a subject that was erased since. */
export const open = (
  { replay }: Events,
  found: Option.Option<Snapshot.EncodedSnapshot>
): Effect.Effect<
  { readonly snapshot: Option.Option<Snapshot.EncodedSnapshot>; readonly erased: boolean },
  KeyStoreError
> =>
  Option.isNone(found) || Option.isNone(replay.sealing)
    ? Effect.succeed({ snapshot: found, erased: false })
    : Effect.map(Personal.openState(replay.sealing.value, found.value), ({ erased, snapshot }) => ({
      snapshot: Option.some(snapshot),
      erased
    }))

/** Tells whether a state in memory may have data of a subject that was erased since. */
export const isOutdated = <State>(sealable: Sealable<State>, state: InMemory<State>): Outdated =>
  // what does not encode cannot be looked at
  Option.getOrElse(erasedIn(sealable, state), () => Effect.succeed(true))

/** Tells whether a state in memory has data of a subject that was erased since. One that does not encode has none. */
export const isErased = <State>(sealable: Sealable<State>, state: InMemory<State>): Outdated =>
  Option.getOrElse(erasedIn(sealable, state), () => no)

interface Sealable<in State> {
  readonly events: Events
  readonly loadable: Pick<Loadable<never, State>, "toText">
}

interface InMemory<out State> {
  readonly state: State
  readonly stream: StreamId.StreamId
}

type Outdated = Effect.Effect<boolean, EventStore.EventStoreError>

/** `None` if the state does not encode. */
const erasedIn = <State>(
  { events, loadable }: Sealable<State>,
  { state, stream }: InMemory<State>
): Option.Option<Outdated> => {
  const { sealing } = events.replay
  if (Option.isNone(sealing) || Option.isNone(loadable.toText)) return Option.some(no)
  return Option.map(
    Either.getRight(loadable.toText.value(state)),
    (text) => Effect.mapError(sealing.value.isOutdated([text]), (error) => Personal.unavailable("read", error, stream))
  )
}

const no = Effect.succeed(false)

/** Keeps the snapshots of a cache: sealed, and opened at each use. */
export interface Kept {
  /** `undefined` if the snapshot cannot be kept. */
  readonly keep: (snapshot: Snapshot.EncodedSnapshot) => Effect.Effect<Snapshot.EncodedSnapshot | undefined>
  /** `undefined` if a subject was erased since. */
  readonly use: (
    snapshot: Snapshot.EncodedSnapshot
  ) => Effect.Effect<Snapshot.EncodedSnapshot | undefined, EventStore.EventStoreError>
}

/** `undefined`: the states have no personal data, and are kept as they are. */
export const kept = (
  { sealing }: Pick<EventStore.ReplaySeam, "sealing">,
  { toText }: Pick<Loadable<never, never>, "toText">
): Kept | undefined => {
  if (Option.isNone(sealing) || Option.isNone(toText)) return undefined
  const { value } = sealing
  return {
    keep: (snapshot) => Effect.orElseSucceed(Personal.sealState(value, snapshot), () => undefined),
    use: (snapshot) =>
      Effect.mapBoth(Personal.openState(value, snapshot), {
        onFailure: (error) => Personal.unavailable("read", error, snapshot.stream),
        onSuccess: ({ erased, snapshot }) => erased ? undefined : snapshot
      })
  }
}
