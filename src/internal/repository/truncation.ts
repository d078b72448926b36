// Verifies the snapshot below which a stream is to be truncated: it must be of the aggregate's own schema, have its proof,
// and give the same state as full replay up to its version.
// Cost: a load, two reads of the snapshot and a full replay.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as Aggregate from "../../Aggregate.js"
import * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type { SnapshotStore, SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { compare } from "../schema/equality.js"
import type { Baseline } from "./baseline.js"
import type { LoadError } from "./errors.js"
import { type Folded, make as makeLoadable, proofOf } from "./loadable.js"
import { type Loader, make as makeLoader } from "./loader.js"
import * as Options from "./options.js"

/** Why a snapshot does not allow a truncation. */
export interface Refusal {
  readonly _tag: "Refusal"
  readonly reason: "Missing" | "Older" | "Unusable" | "Refuted"
  readonly detail: string
}

interface Request<in out Id, in out State> {
  readonly id: Id
  readonly stream: StreamId.StreamId
  readonly before: number
  readonly unverified: boolean
  readonly loader: Loader<Id, State>
  readonly lastRewritten: EventStore.EventStore["Type"]["replay"]["lastRewritten"]
  readonly snapshots: SnapshotStore["Type"]
  readonly schemaVersion: number
  readonly state: Schema.Schema<State>
}

interface Verified {
  readonly version: number
  readonly snapshot: Snapshot.EncodedSnapshot
}

export const verify = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  { events, snapshots }: {
    readonly events: EventStore.EventStore["Type"]
    readonly snapshots: SnapshotStore["Type"]
  },
  stream: StreamId.StreamId,
  { before, unverified = false }: { readonly before: number; readonly unverified?: boolean | undefined }
): Effect.Effect<Verified, Refusal | LoadError | SnapshotStoreError> => {
  const { onDrift, snapshotTimeout: timeout, ...options } = Options.complete<State, Event>({})
  const loadable = makeLoadable(aggregate, onDrift)
  const loader = makeLoader(loadable, { ...options, onDrift, timeout, events, snapshots: Option.some(snapshots) })
  return Either.match(aggregate.id.decode(stream.id), {
    onLeft: (cause) =>
      new EventStore.EventStoreError({
        operation: "truncate",
        stream,
        reason: "InvalidInput",
        mayHaveAppended: false,
        detail: "the id of the stream does not match the id schema of the aggregate",
        cause
      }),
    onRight: (id) =>
      check({
        id,
        stream,
        before,
        unverified,
        loader,
        lastRewritten: events.replay.lastRewritten,
        snapshots,
        schemaVersion: loadable.schemaVersion,
        state: aggregate.state.schema
      }, 5)
  })
}

const check = <Id, State>(
  request: Request<Id, State>,
  /** How often another process may save a snapshot or rewrite an event meanwhile. */
  tries: number
): Effect.Effect<Verified, Refusal | LoadError | SnapshotStoreError> =>
  Effect.gen(function*() {
    const { before, id, lastRewritten, loader, schemaVersion, snapshots, state, stream } = request
    // 1. the load that everyone makes uses the snapshot
    const loaded = yield* loader.load(id, { unbounded: true })
    const problem = problemOf(loaded, before, schemaVersion)
    if (problem !== undefined) return yield* Effect.fail(problem)
    // 2. the stored snapshot, and its state
    const stored = yield* snapshots.get(stream, { schemaVersion })
    const version = loaded.snapshotVersion
    // without the snapshot, which may have been replaced by now, there is no state where the beginning was removed
    const own = yield* unlessRemoved(loader.loadTo(id, version, { onRefused: () => Effect.void }))
    if (
      Option.isNone(stored) || Option.isNone(own) || !isUsed(loaded, stored.value) || !isUsed(own.value, stored.value)
    ) {
      return tries > 1
        ? yield* check(request, tries - 1)
        : yield* refuse("Unusable", "other snapshots of the stream were saved while it was checked: try again")
    }
    // 3. the same state by full replay
    const replayed = yield* replay(request, version)
    if (Option.isSome(replayed) && !isSame(state, replayed.value, own.value)) {
      // the replay has the new payload of an event that was rewritten meanwhile, and the next load has it too
      if (tries > 1 && (yield* lastRewritten(stream, loaded.version)) > 0) return yield* check(request, tries - 1)
      return yield* refuse("Refuted", "full replay gives another state than the snapshot: Repository.verify removes it")
    }
    return { version: loaded.version, snapshot: stored.value }
  })

/** Replays the stream. `None` if its beginning was removed and the caller knows. */
const replay = <Id, State>(
  { id, loader, unverified }: Request<Id, State>,
  version: number
): Effect.Effect<Option.Option<Folded<State>>, LoadError> => {
  const replayed = loader.replayTo(id, version)
  return unverified ? unlessRemoved(replayed) : Effect.asSome(replayed)
}

/** Gives `None` if a fold met an event whose content was removed. */
const unlessRemoved = <A>(load: Effect.Effect<A, LoadError>): Effect.Effect<Option.Option<A>, LoadError> =>
  Effect.catchIf(
    Effect.asSome(load),
    (error) => error._tag === "HistoryGap" && error.removed === true,
    () => Effect.succeedNone
  )

const problemOf = (
  { outcome, used }: Baseline<unknown>,
  before: number,
  schemaVersion: number
): Refusal | undefined => {
  if (Option.isNone(used)) {
    return outcome instanceof Error
      ? refusal("Unusable", `${outcome.message}: ${advice}`)
      : refusal("Missing", `it has no snapshot: ${advice}`)
  }
  const { schemaVersion: own, version } = used.value
  if (own !== schemaVersion) return refusal("Unusable", `its snapshot has schema version ${own}: ${advice}`)
  return version < before - 1
    ? refusal("Older", `its snapshot is of version ${version}, and version ${before - 1} is needed: ${advice}`)
    : undefined
}

const advice = "take one with createSnapshot of a repository"

const isUsed = ({ used }: Baseline<unknown>, { eventId, version }: Snapshot.EncodedSnapshot): boolean =>
  Option.exists(used, (used) => used.version === version && used.eventId === eventId)

const isSame = <State>(schema: Schema.Schema<State>, replayed: Folded<State>, own: Baseline<State>): boolean => {
  const [now, before] = [proofOf(replayed), proofOf(own)]
  return replayed.version === own.version && (now === null || before === null || now === before) &&
    compare(schema, replayed.state, own.state, 1).length === 0
}

const refusal = (reason: Refusal["reason"], detail: string): Refusal => ({ _tag: "Refusal", reason, detail })

const refuse = (reason: Refusal["reason"], detail: string): Effect.Effect<never, Refusal> =>
  Effect.fail(refusal(reason, detail))
