/**
 * The law of state migrations as a property test: a migrated snapshot of old code is what new code replays.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import type * as Aggregate from "../Aggregate.js"
import { replay } from "../Aggregate.js"
import { compare } from "../internal/compare.js"
import * as Json from "../internal/json.js"
import { InvalidOption } from "../InvalidOption.js"
import * as Snapshot from "../Snapshot.js"
import * as StreamId from "../StreamId.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<Event> {
  /** What old code may have written. Default: up to 50 events of any kind, in any order, from the event schema. */
  readonly history?: FastCheck.Arbitrary<ReadonlyArray<Event>> | undefined
  /** How many histories are tried. Default 200. */
  readonly runs?: number | undefined
  /** Where the random numbers begin. Default: another each time. */
  readonly seed?: number | undefined
}

/**
 * Tries generated histories: `old` replays one and takes a snapshot; what `now` makes of that snapshot must be equivalent
 * to what `now` replays from the same stored events. It throws with the shortest history that it finds where that is not
 * so. Keep the old definition, or what is left of it, beside the tests.
 *
 * @example
 * ```ts
 * import { Aggregate, Versions } from "effect-eventsourcing"
 * import { MigrationLaw } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 *
 * const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
 * const V1 = Schema.Struct({ total: Schema.Int })
 * const V2 = Schema.Struct({ total: Schema.Int, even: Schema.Boolean })
 * const shared = {
 *   name: "Counter",
 *   id: Schema.String,
 *   event: Counted,
 *   command: Counted,
 *   decide: (_: unknown, command: typeof Counted.Type) => Either.right([command])
 * }
 *
 * const Old = Aggregate.make({
 *   ...shared,
 *   state: V1,
 *   initial: () => ({ total: 0 }),
 *   evolve: (state, event) => ({ total: state.total + event.by })
 * })
 * const Now = Aggregate.make({
 *   ...shared,
 *   state: V2,
 *   schemaVersion: 2,
 *   migrations: Versions.from(1, V1).to(V2, ({ total }) => ({ total, even: total % 2 === 0 })),
 *   initial: () => ({ total: 0, even: true }),
 *   evolve: (state, event) => ({ total: state.total + event.by, even: (state.total + event.by) % 2 === 0 })
 * })
 *
 * MigrationLaw.check(Old, Now)
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const check = <
  OldName extends string,
  OldId,
  OldState,
  OldEvent,
  OldCommand,
  OldRejection,
  Name extends string,
  Id,
  State,
  Event,
  Command,
  Rejection
>(
  old: Aggregate.Aggregate<OldName, OldId, OldState, OldEvent, OldCommand, OldRejection>,
  now: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options?: Options<NoInfer<OldEvent>>
): void => {
  const source = now.migrations.find(({ version }) => version === old.schemaVersion)
  if (source === undefined || source.fingerprint !== old.fingerprint) {
    throw new InvalidOption({
      option: "MigrationLaw old",
      value: `an aggregate of schema version ${old.schemaVersion} and fingerprint ${old.fingerprint}`,
      expected: "one whose snapshots the new aggregate can migrate: " +
        now.migrations.map(({ fingerprint, version }) => `version ${version} with ${fingerprint}`).join(", ")
    })
  }
  const history = options?.history ?? FastCheck.array(Arbitrary.make(old.event.schema), { maxLength: 50 })
  const parameters = { numRuns: options?.runs ?? 200, ...(options?.seed === undefined ? {} : { seed: options.seed }) }
  FastCheck.assert(
    FastCheck.property(Arbitrary.make(old.id.schema), history, (id, history) => {
      const encodedId = Either.getOrUndefined(old.id.encode(id))
      const stored = storable(old.event, history)
      FastCheck.pre(encodedId !== undefined && stored !== undefined)
      const snapshot = Snapshot.encode(old, {
        stream: StreamId.make(old.name, encodedId),
        version: Math.max(1, history.length),
        eventId: "event",
        state: replay(old, id, history),
        time: DateTime.unsafeMake(0)
      })
      // old code took no snapshot of such a state
      FastCheck.pre(Either.isRight(snapshot))
      const { state: migrated } = orThrow(Snapshot.decode(now, snapshot.right))
      const events = stored.flatMap(({ payload, type }) => {
        const decode = now.event.decoder(type)
        if (decode !== undefined) return [orThrow(decode(payload))]
        if (now.event.isRetired(type)) return []
        throw new Error(`the new aggregate does not know the stored type ${type}`)
      })
      const replayed = replay(now, orThrow(now.id.decode(encodedId)), events)
      const differences = compare(now.state.schema, replayed, migrated, 20)
      if (differences.length > 0) {
        throw new Error(
          "the migrated snapshot is not what replay gives:\n" +
            differences.map(({ left, path, right }) => `  ${path}: replayed ${left}, migrated ${right}`).join("\n")
        )
      }
    }),
    parameters
  )
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const storable = <Event>(
  codec: Aggregate.EventCodec<Event>,
  history: ReadonlyArray<Event>
): ReadonlyArray<{ readonly type: string; readonly payload: unknown }> | undefined => {
  const stored = []
  for (const event of history) {
    const text = Either.flatMap(codec.encode(event), Json.stringify)
    if (Either.isLeft(text)) return undefined
    stored.push({ type: codec.typeOf(event), payload: JSON.parse(text.right) })
  }
  return stored
}

const orThrow = <A>(either: Either.Either<A, unknown>): A => Either.getOrThrowWith(either, (error) => error)
