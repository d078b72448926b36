// Takes the snapshots that the policy asks for after a load or a command, and those that the caller asks for.
// Mechanism: the sync modes save before the command returns; the background mode offers the stream to the snapshotter.
// Cost: a condition in memory if no snapshot is due. Otherwise a save in the sync modes, and one yield in background mode.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import type * as SnapshotPolicy from "../../SnapshotPolicy.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import { reason } from "../schema/reason.js"
import { type Baseline, baselineOf } from "./baseline.js"
import { contain } from "./contain.js"
import { type CreateSnapshotError, EmptyStream, type LoadError } from "./errors.js"
import type { Held } from "./held.js"
import { saveHeld } from "./heldSaves.js"
import type { CreatedSnapshot } from "./model.js"
import { dueNow, notTaken, save, saveCommitted, saveDue, type SaveError, saveStored } from "./saves.js"
import type { Services } from "./services.js"
import type { Source } from "./source.js"
import * as SyncSaves from "./syncSaves.js"

/** The command that led to a state. */
export interface Commanded<in out State, in out Event> {
  /** Undefined if the command appended nothing. */
  readonly change?: SnapshotPolicy.Change<State, Event> | undefined
  /** The source of the state before the command. */
  readonly source: Source<State>
  /** Exists for a command of a writer: its snapshots are taken of the state that it holds. */
  readonly held: Held<State> | undefined
  /**
   * The events of the command, as the store returns them. Undefined if the store may hold other events under their ids:
   * then a save reads the stream again.
   */
  readonly appended: (() => ReadonlyArray<EventStore.TailEvent>) | undefined
  readonly isStored: Effect.Effect<boolean, EventStore.EventStoreError>
  /** Whether the append was interrupted and its result is not known. */
  readonly interrupted: boolean
}

/**
 * Takes a snapshot after a load, or after a command without events. In the sync modes it takes none inside a
 * transaction, because the save would keep a lock until the transaction ends.
 */
export const afterLoad = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  baseline: Baseline<State>,
  of?: Pick<Commanded<State, Event>, "source" | "held">
): Effect.Effect<void, EventStore.EventStoreError> => {
  if (!services.snapshotOnLoad || services.when === undefined) return Effect.void
  const command = of && { ...of, appended: noEvents, isStored: Effect.succeed(true), interrupted: false }
  const taken = afterAppend(services, id, baseline, command)
  return services.snapshotter !== undefined
    ? taken
    : Effect.flatMap(services.inTransaction, (open) => open ? Effect.void : taken)
}

/** Takes a snapshot if one is due. */
export const afterAppend = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  baseline: Baseline<State>,
  command: Commanded<State, Event> | undefined
): Effect.Effect<void, EventStore.EventStoreError> =>
  Effect.flatMap(dueNow(services, baseline, command?.change), (when) => {
    if (when === undefined) return Effect.void
    const { inTransaction, snapshotter } = services
    const held = command?.held
    if (held !== undefined) {
      return Effect.zipRight(noteAsked(services, held), takeHeld(services, id, baseline, when, held))
    }
    if (snapshotter === undefined) {
      return Effect.flatMap(
        mayRollBack(services),
        (uncommitted) => uncommitted ? Effect.void : saveInTime(services, id, baseline, when, command)
      )
    }
    return Effect.flatMap(inTransaction, (open) => {
      const { stream, version } = baseline
      snapshotter.offer({
        stream,
        version,
        tentative: open || command?.interrupted === true,
        save: saveCommitted(services, id, stream, when, open ? version : 0)
      })
      // SQLite is synchronous: without a yield, a loop of commands would never let a worker run
      return Effect.yieldNow()
    })
  })

/** Notes that a snapshot of a writer's state was asked for. */
export const noteAsked = <Id, State, Event>(
  { loadable }: Services<Id, State, Event>,
  held: Held<State> | undefined
): Effect.Effect<void> =>
  Effect.clockWith((clock) => Effect.sync(() => held?.asked(loadable.schemaVersion, clock.unsafeCurrentTimeMillis())))

/** Takes a snapshot of the state of a writer, which is outside of transactions. */
export const takeHeld = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  { stream, version }: Pick<Baseline<State>, "stream" | "version">,
  when: SnapshotPolicy.When,
  held: Held<State>
): Effect.Effect<void, EventStore.EventStoreError> => {
  const { snapshotter } = services
  const save = saveHeld(services, id, stream, when, held)
  if (snapshotter === undefined) return SyncSaves.run(services, stream, save(() => {}), Effect.succeed(true))
  snapshotter.offer({ stream, version, save })
  return Effect.yieldNow()
}

/**
 * Saves before the load or the command returns. Only a state that the program cannot have changed is saved as it is:
 * `decide` may have changed the state of a command, so that state is folded again. A state from a snapshot or from the
 * cache is read again, because the snapshot may have been refuted and removed since.
 */
export const saveInTime = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  baseline: Baseline<State>,
  when: SnapshotPolicy.When,
  command: Commanded<State, Event> | undefined
): Effect.Effect<void, EventStore.EventStoreError> => {
  const { cached, stream, used } = baseline
  const fromCommand = command !== undefined && Option.isNone(used) && !cached ? command : undefined
  const saving = Effect.suspend((): Effect.Effect<unknown, unknown> => {
    if (command === undefined && !cached) return saveDue(services, baseline)
    const again = fromCommand?.appended === undefined
      ? Option.none()
      : fromCommand.source.again(fromCommand.appended())
    return Option.match(again, {
      onNone: () => saveStored(services, id, stream, when, { uncommitted: 0, heartbeat: () => {} }),
      onSome: (folded) => saveDue(services, baselineOf(folded, baseline))
    })
  })
  // a state that is read again needs no other proof
  return SyncSaves.run(services, stream, saving, fromCommand?.isStored ?? Effect.succeed(true))
}

/** Takes a snapshot for the caller, and fails if it cannot. */
export const create = <Id, State, Event>(
  services: Services<Id, State, Event>,
  loading: Effect.Effect<Baseline<State>, LoadError | SnapshotStore.SnapshotStoreError>
): Effect.Effect<CreatedSnapshot<State>, CreateSnapshotError> =>
  Effect.gen(function*() {
    const baseline = yield* loading
    const { stream } = baseline
    if (baseline.version === 0) return yield* new EmptyStream({ stream })
    if (services.policy._tag === "None") {
      return yield* notTaken(
        stream,
        "the repository is in mode none, in which no snapshot is taken and none is read: " +
          "give it SnapshotPolicy.manual, or another mode"
      )
    }
    if (yield* mayRollBack(services)) {
      return yield* notTaken(
        stream,
        "the open transaction may still roll the events back, and the snapshot store has no part in it: " +
          "take the snapshot after the transaction"
      )
    }
    const saved = yield* contain(save(services, baseline), services)
    if (Either.isLeft(saved)) {
      const cause = saved.left
      return yield* isSaveError(cause) ? cause : new SnapshotStore.SnapshotStoreError({
        operation: "save",
        aggregate: stream.aggregate,
        id: stream.id,
        reason: "Unavailable",
        detail: `the save failed: ${Cause.isInterruptedException(cause) ? "it was interrupted" : reason(cause)}`,
        cause
      })
    }
    services.backOff.succeeded(stream.id)
    if (saved.right.outcome !== "Discarded") return saved.right
    return yield* notTaken(
      stream,
      "the snapshot store keeps nothing, as SnapshotStore.layerNoop: give the repository another one"
    )
  })

// in a database of its own, a snapshot of uncommitted events would outlive their rollback
const mayRollBack = <Id, State, Event>({ inTransaction, shared }: Services<Id, State, Event>): Effect.Effect<boolean> =>
  Option.isSome(shared) ? Effect.succeed(false) : inTransaction

const isSaveError = (error: unknown): error is SaveError =>
  error instanceof EventStore.EventStoreError || error instanceof Snapshot.StateEncodeError ||
  error instanceof SnapshotStore.SnapshotStoreError

const noEvents = () => []
