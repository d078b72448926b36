/**
 * Compares a load by snapshot with full replay. It detects what the check on load cannot: a changed `evolve` or migration.
 *
 * Mechanism: loads, replays to the same version, compares the states by their schema, removes a refuted snapshot and
 * verifies the next one.
 * Cost: a full replay for each snapshot.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import { compare } from "../schema/equality.js"
import type { LoadError } from "./errors.js"
import { type Baseline, contain } from "./loader.js"
import type { Verification } from "./model.js"
import type { Services } from "./services.js"

/** @internal */
export const verify = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  remove: boolean,
  /** How many snapshots can be refuted in turn: one of each schema version. */
  most = services.migratable + 1
): Effect.Effect<Verification, LoadError> =>
  Effect.gen(function*() {
    const { loader, state } = services
    const loaded = yield* loader.load(id, { unbounded: true })
    const { outcome, snapshotVersion, stream, used, version } = loaded
    if (Option.isNone(used)) return { _tag: "NoSnapshot", version, snapshotOutcome: outcome }
    const replayed = yield* loader.replayTo(id, version)
    if (replayed.version < version) {
      // events were removed between the two reads
      return yield* new EventStore.HistoryGap({ stream, expected: replayed.version + 1, actual: version })
    }
    // the stream has another history by now, and the two states cannot be compared
    if (replayed.eventId !== null && loaded.eventId !== null && replayed.eventId !== loaded.eventId) {
      return yield* verify(services, id, remove, most)
    }
    const differences = compare(state, replayed.state, loaded.state, 20)
    if (differences.length === 0) return { _tag: "Verified", version, snapshotVersion }
    loader.forget(stream)
    const removed = remove ? yield* removeUsed(services, loaded) : undefined
    // a newer snapshot may have taken its place, and the next load may migrate an older one, which may be as wrong
    const next = removed !== undefined && most > (removed ? 1 : 0)
      ? yield* verify(services, id, remove, most - 1)
      : undefined
    // the snapshot of this load was gone already, and the next verification tells of the one that replaced it
    if (removed !== true && next?._tag === "Refuted") return next
    return {
      _tag: "Refuted",
      version,
      snapshotVersion,
      differences: differences.map(({ left, path, right }) => ({ path, replayed: left, loaded: right })),
      removed: removed === true
    }
  })

/** Removes the snapshot that a load used. Returns whether it was there, and undefined if the store failed. */
const removeUsed = <Id, State, Event>(
  services: Services<Id, State, Event>,
  { snapshotVersion, stream, used }: Baseline<State>
): Effect.Effect<boolean | undefined, EventStore.EventStoreError> => {
  if (Option.isNone(used)) return Effect.succeed(undefined)
  const { eventId, schemaVersion } = used.value
  const identity = { version: snapshotVersion, eventId }
  const removal = Effect.suspend(() => services.snapshots.delete(stream, { schemaVersion, identity }))
  return Effect.map(
    contain(removal, services),
    Either.match({ onLeft: () => undefined, onRight: (count) => count > 0 })
  )
}
