// Takes snapshots of the state that a writer holds, without reading the stream again.
// Mechanism: the state is folded again from its texts. One read proves that the stream still has its last event, and no
// marker after it. If the state is based on a stored snapshot, that snapshot must still be stored, because a
// verification may have refuted and removed it. Without the proofs the save reads the stream.
// Cost: two short reads and the save.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import type * as SnapshotPolicy from "../../SnapshotPolicy.js"
import type * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { type Baseline, isUsed } from "./baseline.js"
import type { LoadError } from "./errors.js"
import type { Held, InHand } from "./held.js"
import { standsUnmarked } from "./loadable.js"
import { giveUp, isLasting, saveDue, type SaveError, saveStored } from "./saves.js"
import * as Sealed from "./sealed.js"
import type { Services } from "./services.js"

/** Makes the save of the state that a writer holds when the save runs. It returns false if no snapshot is due. */
export const saveHeld = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  stream: StreamId.StreamId,
  when: SnapshotPolicy.When,
  held: Held<State>
) =>
(heartbeat: () => void): Effect.Effect<unknown, LoadError | SaveError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<unknown, LoadError | SaveError> => {
    if (services.backOff.waits(stream.id, now)) return Effect.succeed(false)
    return Effect.flatMap(
      proved(services, held),
      Option.match({
        onNone: () => saveStored(services, id, stream, when, { uncommitted: 0, heartbeat }),
        onSome: ({ base, baseline }): Effect.Effect<unknown, SaveError> =>
          Option.exists(base, ({ version }) => version >= baseline.version)
            ? Effect.succeed(false)
            : Effect.tap(saveDue(services, baseline), (snapshot) => held.saved(snapshot))
      })
    )
  }).pipe(
    Effect.catchIf(isLasting, (error) => Effect.as(giveUp(services, stream, error), false))
  )

/** The held state, if the store still has the history and the snapshot that it is based on. */
export const proved = <Id, State, Event>(
  services: Services<Id, State, Event>,
  held: Held<State>
): Effect.Effect<Option.Option<InHand<State>>, EventStore.EventStoreError | SnapshotStore.SnapshotStoreError> =>
  Effect.suspend(() => {
    const inHand = held.again()
    if (Option.isNone(inHand) || inHand.value.baseline.version === 0) return Effect.succeedNone
    const { baseline } = inHand.value
    return Effect.map(
      Effect.if(standsUnmarked(services.events.replay, baseline), {
        onTrue: () =>
          Effect.flatMap(
            Sealed.isOutdated(services, baseline),
            (outdated) => outdated ? Effect.succeed(false) : isStored(services, baseline, inHand.value.base)
          ),
        onFalse: () => Effect.succeed(false)
      }),
      (isProved) => {
        // commands must not go on from a state that has lost its proof
        if (!isProved) held.drop()
        return isProved ? inHand : Option.none()
      }
    )
  })

const isStored = <Id, State, Event>(
  services: Services<Id, State, Event>,
  { stream }: Baseline<State>,
  base: InHand<State>["base"]
): Effect.Effect<boolean, SnapshotStore.SnapshotStoreError> => {
  if (Option.isNone(base)) return Effect.succeed(true)
  const { loadable, snapshots } = services
  return Effect.map(
    snapshots.get(stream, { schemaVersion: loadable.schemaVersion, migratable: loadable.migratable }),
    Option.exists((stored) => isUsed(base.value, stored))
  )
}
