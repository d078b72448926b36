// The models of AggregateEntity, which exports them.
import type * as Effect from "effect/Effect"
import type * as Aggregate from "../../Aggregate.js"
import type * as Repository from "../../Repository.js"
import type { CommandTimeout, LoadTimeout, UnreadableAnswer } from "./errors.js"

/**
 * The calls of an aggregate's entities, in the shape of a `Repository`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client<in out A extends Aggregate.Any> {
  /**
   * Sends the command to the entity of the aggregate, which decides it and appends its events. A command without a
   * `commandId` gets one, so that it counts once however often the cluster delivers it. A defect of `decide` or `evolve`
   * is a defect of the caller, and the entity goes on.
   */
  readonly execute: ClientExecute<A>

  /** Sends commands that are decided in turn, and whose events are appended all at once. */
  readonly executeAll: (
    id: Aggregate.Id<A>,
    commands: ReadonlyArray<Aggregate.Command<A>>,
    options?: Repository.ExecuteOptions
  ) => Effect.Effect<
    Repository.Executed<Aggregate.State<A>, Aggregate.Event<A>>,
    Aggregate.Rejection<A> | Repository.ExecuteError | CommandTimeout | UnreadableAnswer
  >

  /**
   * Gives the state of the entity, which includes every command that was acknowledged before, by any writer. Its
   * `snapshotOutcome` is `Disabled`.
   */
  readonly load: (id: Aggregate.Id<A>) => Effect.Effect<
    Repository.Loaded<Aggregate.Id<A>, Aggregate.State<A>>,
    Repository.LoadError | LoadTimeout | UnreadableAnswer
  >
}

/**
 * The type of a client's `execute`.
 *
 * @since 0.1.0
 * @category models
 */
export type ClientExecute<A extends Aggregate.Any> = Aggregate.IsHandled<A> extends true ? <
    Tag extends Aggregate.Command<A> extends { readonly _tag: infer Tag extends string } ? Tag : never
  >(
    id: Aggregate.Id<A>,
    command: Aggregate.Command<A> & { readonly _tag: Tag },
    options?: Repository.ExecuteOptions
  ) => Effect.Effect<
    Repository.Executed<Aggregate.State<A>, Aggregate.Event<A>>,
    Aggregate.RejectionOf<A, Tag> | Repository.ExecuteError | CommandTimeout | UnreadableAnswer
  >
  : (
    id: Aggregate.Id<A>,
    command: Aggregate.Command<A>,
    options?: Repository.ExecuteOptions
  ) => Effect.Effect<
    Repository.Executed<Aggregate.State<A>, Aggregate.Event<A>>,
    Aggregate.Rejection<A> | Repository.ExecuteError | CommandTimeout | UnreadableAnswer
  >
