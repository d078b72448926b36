// Verifies the snapshot below which a stream is to be truncated: it must be of the aggregate's own schema, have its proof,
// and give the same state as full replay up to its version.
// Cost: a load, a read of the snapshot, a full replay, and two short statements.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type * as Aggregate from "../../Aggregate.js"
import * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type { SnapshotStore, SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Personal from "../personal/driver.js"
import { compare } from "../schema/equality.js"
import { type Baseline, isUsed } from "./baseline.js"
import type { LoadError } from "./errors.js"
import { type Folded, type Loadable, make as makeLoadable, proves } from "./loadable.js"
import { type Loader, make as makeLoader } from "./loader.js"
import * as Options from "./options.js"
import * as Sealed from "./sealed.js"

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
  readonly loadable: Loadable<Id, State>
  readonly loader: Loader<Id, State>
  readonly events: EventStore.EventStore["Type"]
  readonly snapshots: SnapshotStore["Type"]
  readonly state: Schema.Schema<State>
}

/** What allows a truncation. */
interface Verified {
  /** As it is stored. */
  readonly snapshot: Snapshot.EncodedSnapshot
  /** No event was rewritten after this version of the stream. */
  readonly version: number
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
      check({ id, stream, before, unverified, loadable, loader, events, snapshots, state: aggregate.state.schema }, 5)
  })
}

const check = <Id, State>(
  request: Request<Id, State>,
  /** How often an event may be rewritten, or the snapshot be deleted, meanwhile. */
  tries: number
): Effect.Effect<Verified, Refusal | LoadError | SnapshotStoreError> =>
  Effect.gen(function*() {
    const { before, id, loadable: { schemaVersion }, loader, snapshots, stream } = request
    // 1. the load that everyone makes uses a snapshot
    const loaded = yield* loader.load(id, { unbounded: true })
    const problem = problemOf(loaded, before, schemaVersion)
    if (problem !== undefined) return yield* Effect.fail(problem)
    // 2. the stored one, which may be newer by now, gives the state of full replay
    const stored = yield* snapshots.get(stream, { schemaVersion })
    if (Option.isSome(stored)) {
      // the load has met the markers after the snapshot that it used, and did not refuse it
      const isOfLoad = Option.exists(loaded.used, (used) => isUsed(used, stored.value))
      const version = isOfLoad ? loaded.version : stored.value.version
      if (yield* isRight(request, stored.value, version)) return { snapshot: stored.value, version }
    }
    return tries > 1
      ? yield* check(request, tries - 1)
      : yield* refuse("Unusable", "events were rewritten, or snapshots deleted, while it was checked: try again")
  })

/** Tells whether a snapshot gives the state of full replay, or is of a history that is gone. Fails if it is wrong. */
const isRight = <Id, State>(
  request: Request<Id, State>,
  stored: Snapshot.EncodedSnapshot,
  /** The version of the stream up to which no marker refutes the snapshot. */
  known: number
): Effect.Effect<boolean, Refusal | LoadError> =>
  Effect.gen(function*() {
    const { before, events, id, loadable, loader, state, stream, unverified } = request
    const { schemaVersion, version } = stored
    if (version < before - 1 || schemaVersion !== loadable.schemaVersion) return false
    const { snapshot: opened } = yield* Effect.mapError(
      Sealed.open(events, Option.some(stored)),
      (error) => Personal.unavailable("read", error, stream)
    )
    const own = Option.flatMap(opened, (encoded) => Either.getRight(loadable.decode(encoded)))
    if (Option.isNone(own)) return false
    const replaying = loader.replayTo(id, version)
    // there is nothing to replay where the beginning was removed
    const replayed = yield* (unverified ? unlessRemoved(replaying) : Effect.asSome(replaying))
    // after the replay, so that both states are of the history that is stored now
    if (!proves(yield* events.replay.readTail(stream, { fromVersion: version, limit: 1 }), stored)) return false
    if ((yield* events.replay.lastRewritten(stream, known)) > 0) return false
    if (Option.exists(replayed, (replayed) => !isSame(state, replayed, own.value))) {
      // a person was erased since the snapshot was opened
      if (yield* Sealed.isErased(request, own.value)) return false
      return yield* refuse("Refuted", "full replay gives another state than the snapshot: Repository.verify removes it")
    }
    return true
  })

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

const isSame = <State>(schema: Schema.Schema<State>, replayed: Folded<State>, own: Snapshot.Snapshot<State>): boolean =>
  replayed.version === own.version && compare(schema, replayed.state, own.state, 1).length === 0

const refusal = (reason: Refusal["reason"], detail: string): Refusal => ({ _tag: "Refusal", reason, detail })

const refuse = (reason: Refusal["reason"], detail: string): Effect.Effect<never, Refusal> =>
  Effect.fail(refusal(reason, detail))
