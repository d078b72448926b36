// One pass of the policies, each apart: the failure of one does not keep the others from their work.
// Mechanism: bounded steps with a pause between. Each step is a statement or two that do nothing if another process was
// first, so that passes of several processes, and passes that were cut off, need no lease and leave nothing to repair.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import * as Archives from "./archives.js"
import type { Policies, Policy, Report, RetentionError } from "./model.js"
import type { Settings } from "./options.js"
import * as Parked from "./parked.js"
import * as Snapshots from "./snapshots.js"
import * as Steps from "./steps.js"
import * as Telemetry from "./telemetry.js"
import * as Tombstones from "./tombstones.js"

/** The operations that remove streams, if a policy needs them. */
export const lifeOf = (
  { replay }: EventStore.EventStore["Type"],
  { archives, tombstones }: Policies
): Effect.Effect<Option.Option<EventStore.LifeSeam>, InvalidOption> =>
  (tombstones !== undefined || archives !== undefined) && Option.isNone(replay.life)
    ? new InvalidOption({
      option: tombstones === undefined ? "archives" : "tombstones",
      value: "a policy for an EventStore without the operations of `life`",
      expected: "absent, or used with a SQL store, the store in memory, or a store whose driver has `life`"
    })
    : Effect.succeed(replay.life)

export const run = (
  stores: Steps.Stores,
  { life, truncate }: {
    readonly life: Option.Option<EventStore.LifeSeam>
    readonly truncate: Option.Option<Archives.Truncate>
  },
  { archives, parked, snapshots, tombstones }: Policies,
  settings: Settings
): Effect.Effect<Report, RetentionError> => {
  const policy = <A extends { readonly removed: number }, B>(
    name: Policy,
    asked: B | undefined,
    effect: (asked: B, steps: Steps.Steps) => Effect.Effect<A, RetentionError>
  ): Effect.Effect<Either.Either<A | undefined, RetentionError>> =>
    asked === undefined
      ? Effect.succeed(Either.right(undefined))
      : Effect.suspend(() => effect(asked, Steps.make(name, settings))).pipe(
        Effect.tap(({ removed }) => removed === 0 ? Effect.void : Telemetry.removed(name, removed)),
        Effect.tapErrorCause((cause) => Telemetry.failed(name, cause)),
        Effect.either
      )
  return Effect.gen(function*() {
    const pruned = yield* policy("snapshots", snapshots, (asked, steps) => Snapshots.prune(stores, asked, steps))
    // first: a parked event keeps the deleted streams after it
    const dropped = yield* policy("parked", parked, (asked, steps) => Parked.drop(stores, asked, steps))
    const ended = Option.isNone(life) ? Either.right(undefined) : yield* policy(
      "tombstones",
      tombstones,
      (asked, steps) =>
        Effect.tap(
          Tombstones.remove(stores, life.value, asked, steps),
          ({ heldBackBy }) =>
            heldBackBy.length === 0
              ? Effect.void
              : Telemetry.heldBack(heldBackBy.map(({ name, version }) => `${name} ${version}`))
        )
    )
    // last: a stream that was deleted has gone, with its archive
    const emptied = Option.isNone(life) || Option.isNone(truncate) ? Either.right(undefined) : yield* policy(
      "archives",
      archives,
      (asked, steps) =>
        Effect.tap(
          Archives.remove(stores, life.value, truncate.value, asked, steps),
          ({ kept }) => Object.keys(kept).length === 0 ? Effect.void : Telemetry.kept(kept)
        )
    )
    const [snapshotsDone, parkedDone, tombstonesDone, archivesDone] = yield* Either.all([
      pruned,
      dropped,
      ended,
      emptied
    ])
    return {
      ...(snapshotsDone === undefined ? {} : { snapshots: snapshotsDone }),
      ...(tombstonesDone === undefined ? {} : { tombstones: tombstonesDone }),
      ...(parkedDone === undefined ? {} : { parked: parkedDone }),
      ...(archivesDone === undefined ? {} : { archives: archivesDone })
    }
  })
}
