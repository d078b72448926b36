// Compares loads by snapshot with full replay. Verification detects what the check on load cannot: a changed `evolve` or
// migration.
// Mechanism: `verify` loads, replays to the same version, compares the states by their schema, removes a refuted snapshot
// and verifies the next one. For a share of the loads one fiber in the scope of the repository does the same.
// Cost: a load and a full replay for each verification. With sampling, each load by snapshot draws a random number, and
// the verifications replay at most `budget` events a minute.
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Counters from "../counters.js"
import { compare } from "../schema/equality.js"
import { withSpan } from "../tracing.js"
import type { Baseline } from "./baseline.js"
import { contain } from "./contain.js"
import { detached } from "./detached.js"
import { HistoryRewritten, type LoadError } from "./errors.js"
import { type Folded, proofOf } from "./loadable.js"
import type { Verification } from "./model.js"
import { isReplayable } from "./replayable.js"
import * as Sealed from "./sealed.js"
import type { Services, Verifier, VerifyRequest } from "./services.js"
import * as Telemetry from "./telemetry.js"

export const verify = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  remove: boolean,
  /** The most snapshots that are removed in turn: one of each schema version. */
  most = services.loadable.migratable.length + 1,
  /** How often the history may change between the two reads. */
  tries = 5
): Effect.Effect<Verification, LoadError> =>
  Effect.gen(function*() {
    const { loader, state } = services
    const loaded = yield* loader.load(id, { unbounded: true })
    const { outcome, snapshotVersion, stream, used, version } = loaded
    if (Option.isNone(used)) return { _tag: "NoSnapshot", version, snapshotOutcome: outcome }
    const replayed = yield* loader.replayTo(id, version)
    const differences = compare(state, replayed.state, loaded.state, 20)
    const isSame = isSameEvent(loaded, replayed)
    if (isSame && differences.length === 0) return { _tag: "Verified", version, snapshotVersion }
    if (!isSame || (yield* hasChanged(services, loaded))) {
      if (tries > 1) return yield* verify(services, id, remove, most, tries - 1)
      return yield* replayed.version < version
        ? new EventStore.HistoryGap({ stream, expected: replayed.version + 1, actual: version })
        : new HistoryRewritten({ stream })
    }
    loader.forget(stream)
    for (const { drop, stream: { id } } of services.writers) if (id === stream.id) drop()
    const removed = remove ? yield* removeUsed(services, loaded) : undefined
    // the next load may use a newer snapshot, or migrate an older one: either may be wrong too
    const next = removed !== undefined && most > (removed ? 1 : 0)
      ? yield* verify(services, id, remove, most - 1)
      : undefined
    // this snapshot was removed or replaced already: report the one that the next load used
    if (removed !== true && next?._tag === "Refuted") return next
    return {
      _tag: "Refuted",
      version,
      snapshotVersion,
      differences: differences.map(({ left, path, right }) => ({ path, replayed: left, loaded: right })),
      removed: removed === true
    }
  })

/** Tells whether two states end at the same event. If not, events were removed or replaced between the two reads. */
const isSameEvent = (loaded: Folded<unknown>, replayed: Folded<unknown>): boolean => {
  const [now, before] = [proofOf(replayed), proofOf(loaded)]
  return replayed.version === loaded.version && (now === null || before === null || now === before)
}

/** Tells whether an event was rewritten, or a person erased, since a state was loaded. */
const hasChanged = <Id, State, Event>(
  services: Services<Id, State, Event>,
  loaded: Baseline<State>
): Effect.Effect<boolean, EventStore.EventStoreError> =>
  Effect.flatMap(
    services.events.replay.lastRewritten(loaded.stream, loaded.version),
    (marker) => marker > 0 ? Effect.succeed(true) : Sealed.isErased(services, loaded)
  )

/** Removes the snapshot that a load used. Returns whether it was still stored, or undefined if the store failed. */
const removeUsed = <Id, State, Event>(
  services: Services<Id, State, Event>,
  { snapshotVersion, stream, used }: Baseline<State>
): Effect.Effect<boolean | undefined, EventStore.EventStoreError> => {
  if (Option.isNone(used)) return Effect.succeed(undefined)
  const { eventId, schemaVersion, time } = used.value
  // by now another process may have replaced it by a right one of the same version, the only source of a state
  const identity = { version: snapshotVersion, eventId, time }
  const removal = Effect.suspend(() => services.snapshots.delete(stream, { schemaVersion, identity })).pipe(
    Effect.whenEffect(isReplayable(services.events, stream)),
    Effect.map(Option.getOrElse(() => 0))
  )
  return Effect.map(
    contain(removal, services),
    Either.match({ onLeft: () => undefined, onRight: (count) => count > 0 })
  )
}

const capacity = 64

/** Starts the fiber that verifies sampled loads. */
export const makeVerifier = (options: {
  readonly aggregate: string
  readonly sample: number
  /** Events in a minute. */
  readonly budget: number
}): Effect.Effect<Verifier, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { aggregate, budget, sample } = options
    const queue = yield* Queue.dropping<VerifyRequest>(capacity)
    const count = Counters.byOutcome(Counters.snapshotVerifications, aggregate)
    const affordable = withinBudget(budget)

    const run = ({ stream, verify, version }: VerifyRequest) =>
      Effect.if(affordable(version), {
        onFalse: () => Effect.sync(() => count("Skipped")),
        onTrue: () =>
          Effect.matchCauseEffect(verify, {
            onFailure: (cause) =>
              Effect.zipRight(
                Telemetry.warn("a snapshot could not be verified", Cause.squash(cause), { aggregate, id: stream.id }),
                Effect.sync(() => count("Failed"))
              ),
            onSuccess: (verification) =>
              Effect.suspend(() => {
                count(verification._tag)
                return report(stream, verification)
              })
          })
      }).pipe(
        (verifying) =>
          withSpan(verifying, "Repository.verifySample", {
            root: true,
            attributes: { "eventsourcing.aggregate": aggregate, "eventsourcing.id": stream.id }
          }),
        // a logger or a tracer that throws does not end the fiber
        Effect.catchAllCause(() => Effect.void)
      )

    yield* Queue.take(queue).pipe(
      // a store that cannot be interrupted does not delay the closing of the scope
      Effect.flatMap((request) => Effect.disconnect(run(request))),
      Effect.forever,
      Effect.interruptible,
      detached,
      Effect.forkScoped
    )

    return {
      offer: (request) =>
        Effect.map(Random.next, (drawn) => {
          if (drawn < sample && !queue.unsafeOffer(request)) count("Skipped")
        })
    }
  })

/** Takes `version` events from the budget of the current minute. Returns false if too few are left. */
const withinBudget = (budget: number): (version: number) => Effect.Effect<boolean> => {
  let minute = -1
  let spent = 0
  return (version) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      if (Math.floor(now / 60_000) !== minute) {
        minute = Math.floor(now / 60_000)
        spent = 0
      }
      if (spent + version > budget) return false
      spent += version
      return true
    })
}

const report = ({ aggregate, id }: StreamId.StreamId, verification: Verification): Effect.Effect<void> => {
  if (verification._tag !== "Refuted") return Effect.void
  const { differences, removed, snapshotVersion, version } = verification
  return Telemetry.notice(
    "a snapshot was refuted: full replay gives another state. Was evolve changed, and schemaVersion not raised?",
    {
      aggregate,
      id,
      version,
      snapshotVersion,
      removed,
      // the paths only: a log must not show the values
      differences: differences.map(({ path }) => path).join(", ")
    }
  )
}
