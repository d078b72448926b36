// Holds the state of one aggregate for a single writer.
// Mechanism: each operation of the writer takes the held state, one at a time. A load and a snapshot prove by one read
// that it is the stored one; a command proves it by the version of its append.
// Cost: one round trip a command, and one a load.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Aggregate from "../../Aggregate.js"
import type * as EventStore from "../../EventStore.js"
import type { InvalidOption } from "../../InvalidOption.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import { optionProblem, recordProblem, requiredCount } from "../options.js"
import type { Baseline } from "./baseline.js"
import type { CreateSnapshotError, ExecuteError, LoadError } from "./errors.js"
import * as Held from "./held.js"
import { proved } from "./heldSaves.js"
import { load } from "./loads.js"
import type { CreatedSnapshot, Executed, Loaded } from "./model.js"
import type * as Options from "./options.js"
import * as Sealed from "./sealed.js"
import type { Services } from "./services.js"
import * as Snapshots from "./snapshots.js"
import * as Source from "./source.js"

/**
 * Executes the commands of one aggregate, with its state in memory. `Repository.hold` makes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Writer<in out A extends Aggregate.Any> {
  /**
   * Decides the command on the held state and appends its events, in one round trip. If another writer appended first,
   * the command folds the new events and decides again, as in `Repository.execute`. If it is not known whether the
   * append happened, the state is dropped, and the next operation loads it again.
   */
  readonly execute: WriterExecute<A>

  /** Decides commands in turn, each on the state after the previous one, and appends all of their events at once. */
  readonly executeAll: (
    commands: ReadonlyArray<Aggregate.Command<A>>,
    options?: Options.ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.Rejection<A> | ExecuteError>

  /**
   * Gives the state. One round trip proves that it is the stored one, and reads the events that other writers have
   * appended. Like a load from the cache, it has the `snapshotOutcome` `Disabled`.
   */
  readonly load: Effect.Effect<Loaded<Aggregate.Id<A>, Aggregate.State<A>>, LoadError>

  /**
   * Takes a snapshot of the held state, or fails with a typed error. It proves the state and does not read the stream
   * again.
   */
  readonly createSnapshot: Effect.Effect<CreatedSnapshot<Aggregate.State<A>>, CreateSnapshotError>
}

/**
 * The type of a writer's `execute`.
 *
 * @since 0.1.0
 * @category models
 */
export type WriterExecute<A extends Aggregate.Any> = Aggregate.IsHandled<A> extends true ? <
    Tag extends Aggregate.Command<A> extends { readonly _tag: infer Tag extends string } ? Tag : never
  >(
    command: Aggregate.Command<A> & { readonly _tag: Tag },
    options?: Options.ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.RejectionOf<A, Tag> | ExecuteError>
  : (
    command: Aggregate.Command<A>,
    options?: Options.ExecuteOptions
  ) => Effect.Effect<Executed<Aggregate.State<A>, Aggregate.Event<A>>, Aggregate.Rejection<A> | ExecuteError>

/**
 * The options of `hold`.
 *
 * @since 0.1.0
 * @category models
 */
export interface HoldOptions {
  /**
   * Takes a snapshot when the scope closes, if at least `after` events were appended since the last one. In background
   * mode the closing does not wait for it. Otherwise it waits for up to `snapshotTimeout`. Default: no snapshot.
   */
  readonly snapshotOnClose?: { readonly after: number } | undefined
}

/** The parts of a writer that do not depend on the type of its aggregate. */
interface Operations<out Id, in out State> {
  /** Runs a command with the held state, or without it inside a transaction, which may roll back. */
  readonly withHeld: <A, E>(
    run: (held: Held.Held<State> | undefined) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E | EventStore.EventStoreError>
  readonly load: Effect.Effect<Loaded<Id, State>, LoadError>
  readonly createSnapshot: Effect.Effect<CreatedSnapshot<State>, CreateSnapshotError>
}

export const make = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  codec: Aggregate.Codec<State, unknown>,
  options: HoldOptions,
  toLoaded: (id: Id, baseline: Baseline<State>) => Loaded<Id, State>
): Effect.Effect<Operations<Id, State>, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const problem = problemOf(services, options)
    if (problem !== undefined) return yield* problem
    const held = Held.make(Source.make(services.loadable, codec))
    yield* Effect.addFinalizer(() => close(services, id, held, options.snapshotOnClose?.after))
    const stream = Option.getRight(services.loadable.streamOf(id))
    if (Option.isSome(stream)) {
      const writer = { stream: stream.value, drop: held.drop }
      services.writers.add(writer)
      yield* Effect.addFinalizer(() => Effect.sync(() => services.writers.delete(writer)))
    }
    // in a transaction the state is that of the transaction, and its fiber must not wait for one that needs the connection
    const whileCurrent = unlessOld(held)
    const withHeld: Operations<Id, State>["withHeld"] = (run) =>
      Effect.flatMap(
        services.inTransaction,
        (open) => open ? run(undefined) : held.exclusively(whileCurrent(afterErasures(services, held, run(held))))
      )
    return {
      withHeld,
      load: withHeld((held) => Effect.map(loadHeld(services, id, held), (baseline) => toLoaded(id, baseline))),
      createSnapshot: withHeld((held) => createSnapshot(services, id, held))
    }
  })

/**
 * Drops the held state before an operation that comes long after the last one. An append proves the state by its version,
 * which a stream that was removed and has begun again may have too. No stream is removed so soon after its deletion.
 */
const unlessOld = (
  held: { readonly drop: () => void }
): <A, E, R>(operation: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> => {
  let last = -Infinity
  return (operation) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (Math.abs(now - last) > longestUnproven) held.drop()
      last = now
      return operation
    })
}

const longestUnproven = 12 * 60 * 60 * 1_000

/** Drops the held state before an operation if it has data of a subject that was erased since. */
const afterErasures = <Id, State, Event, A, E>(
  services: Services<Id, State, Event>,
  held: Held.Held<State>,
  operation: Effect.Effect<A, E>
): Effect.Effect<A, E | EventStore.EventStoreError> =>
  Option.isNone(services.loadable.toText) ? operation : Effect.suspend(() => {
    const current = held.current()
    return Option.isNone(current) ?
      operation :
      Effect.flatMap(Sealed.isOutdated(services, current.value), (outdated) => {
        if (outdated) held.drop()
        return operation
      })
  })

const problemOf = (
  { policy }: Pick<Services<never, never, never>, "policy">,
  options: HoldOptions
): InvalidOption | undefined => {
  const { snapshotOnClose } = options
  return recordProblem("hold options", options, ["snapshotOnClose"]) ??
    recordProblem("hold snapshotOnClose", snapshotOnClose, ["after"]) ??
    (snapshotOnClose === undefined ? undefined : requiredCount("hold snapshotOnClose.after", snapshotOnClose.after)) ??
    (snapshotOnClose === undefined || policy._tag !== "None"
      ? undefined
      : optionProblem("hold snapshotOnClose", policy._tag, "a repository with another SnapshotPolicy than none"))
}

const loadHeld = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  held: Held.Held<State> | undefined
): Effect.Effect<Baseline<State>, LoadError> => {
  const mayWrite = services.snapshotOnLoad
  const afterwards = (baseline: Baseline<State>) =>
    Snapshots.afterLoad(services, id, baseline, held && { source: held.source, held })
  if (held === undefined) return Effect.tap(load(services, id, { mayWrite }), afterwards)
  const { source } = held
  return Effect.suspend(() =>
    Option.match(held.take(), {
      onNone: () => load(services, id, { mayWrite, source }),
      onSome: (baseline) =>
        Effect.tap(
          services.loader.proceed(id, baseline, { source, onRefused: services.loads.refused }),
          (current) => services.loads.loaded(current)
        )
    })
  ).pipe(
    Effect.tap((baseline) => held.loaded(baseline)),
    Effect.tap(afterwards)
  )
}

const createSnapshot = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  held: Held.Held<State> | undefined
): Effect.Effect<CreatedSnapshot<State>, CreateSnapshotError> => {
  const loading = services.loader.load(id, { unbounded: true })
  if (held === undefined) return Snapshots.create(services, loading)
  const current = Effect.flatMap(
    proved(services, held),
    Option.match({ onNone: () => loading, onSome: ({ baseline }) => Effect.succeed(baseline) })
  )
  return Effect.tap(Snapshots.create(services, current), (created) => held.saved(created))
}

const close = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  held: Held.Held<State>,
  after: number | undefined
): Effect.Effect<void> => {
  const dropped = Effect.sync(held.drop)
  return Effect.suspend(() => {
    // a verification does not know this writer any more, and could not drop its state
    held.close()
    if (after === undefined) return dropped
    const unsaved = Option.filter(held.unsaved(services.loadable.schemaVersion), ({ count }) => count >= after)
    if (Option.isNone(unsaved)) return dropped
    const taken = Snapshots.takeHeld(services, id, unsaved.value, SnapshotPolicy.every(after), held)
    // it fails only if the transaction of the caller is lost, which the caller sees
    return Effect.ignore(taken)
  })
}
