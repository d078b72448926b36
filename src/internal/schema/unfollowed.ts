// Relations of types that the checker cannot follow. Each function returns its argument, or calls it; the overload states
// the relation.
import type * as Either from "effect/Either"
import type * as Schema from "effect/Schema"
import type { AnyDecisions, DecidedOf, LeftOf, Made } from "./definitionTypes.js"
import type { Aggregate, SchemasOf } from "./model.js"

/** `OnlyInitial` checks that `initial` gives a state. */
export function asState<State, Initial>(initial: Initial): State
export function asState(initial: unknown): unknown {
  return initial
}

/** `OnlyStates` checks that `evolve` gives a state. */
export function evolving<State, Event>(
  evolve: (state: unknown, event: unknown) => unknown
): (state: State, event: Event) => State
export function evolving(evolve: unknown): unknown {
  return evolve
}

/** `OnlyEvents` checks that `decide` gives events of the schema. */
export function deciding<State, Event, Command, Decision, Decisions>(
  decide: (state: unknown, command: unknown) => unknown
): (
  state: State,
  command: Command
) => Either.Either<ReadonlyArray<Event>, LeftOf<DecidedOf<Decision, Decisions>>>
export function deciding(decide: unknown): unknown {
  return decide
}

/** The schemas as they were given: `rejection` is left out if there is none. */
export function schemasOf<Id, State, Event, Command, Rejection>(schemas: {
  readonly id: Id
  readonly state: State
  readonly event: Event
  readonly command: Command
  readonly rejection?: Rejection | undefined
}): SchemasOf<Id, State, Event, Command, Rejection>
export function schemasOf({ command, event, id, rejection, state }: {
  readonly id: Schema.Schema.All
  readonly state: Schema.Schema.All
  readonly event: Schema.Schema.All
  readonly command: Schema.Schema.All
  readonly rejection?: Schema.Schema.All | undefined
}): unknown {
  return { id, state, event, command, ...(rejection === undefined ? {} : { rejection }) }
}

/** An aggregate with handlers differs from another only in its types. */
export function made<
  Name extends string,
  Id,
  State,
  Event,
  Command,
  Decision,
  Decisions extends AnyDecisions,
  Schemas
>(
  aggregate: Aggregate<Name, Id, State, Event, Command, LeftOf<DecidedOf<Decision, Decisions>>, Schemas>
): Made<Name, Id, State, Event, Command, Decision, Decisions, Schemas>
export function made(aggregate: unknown): unknown {
  return aggregate
}
