/**
 * Defines aggregates as pure functions over Schema-typed state: the initial state, the change by an event, and the
 * decision of a command.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Schema from "effect/Schema"
import type { RecordedEvent, UnreadableEvent } from "./Event.js"
import * as Plain from "./internal/schema/codec.js"
import { copy } from "./internal/schema/copy.js"
import { checkDefinition } from "./internal/schema/definition.js"
import type * as Types from "./internal/schema/definitionTypes.js"
import { makeEventCodec } from "./internal/schema/eventCodec.js"
import { fingerprint } from "./internal/schema/fingerprint.js"
import { handlersOf } from "./internal/schema/handlers.js"
import {
  type Aggregate,
  type Any,
  type Codec,
  type Command,
  type Event,
  type Id,
  type Rejection,
  type SchemasOf,
  type State,
  TypeId
} from "./internal/schema/model.js"
import * as Unfollowed from "./internal/schema/unfollowed.js"
import type { EventDecodeError } from "./internal/store/eventErrors.js"
import type {
  AnyDecodable,
  Decodable,
  Decoded,
  DecodedEvent,
  ForeignEvent,
  RetiredEvent
} from "./internal/store/recorded.js"
import * as Recorded from "./internal/store/recorded.js"
import type * as Versions from "./Versions.js"

export {
  type Aggregate,
  type Any,
  type Codec,
  type Command,
  type Event,
  type EventCodec,
  type Handled,
  type Id,
  type IsHandled,
  type Rejection,
  type RejectionOf,
  type SchemasOf,
  type State,
  TypeId
} from "./internal/schema/model.js"
export type { Decodable, Decoded, DecodedEvent, ForeignEvent, RetiredEvent } from "./internal/store/recorded.js"

/**
 * Defines an aggregate.
 *
 * - `event` is a union of members with a literal `_tag` (`Schema.TaggedStruct`, `Schema.TaggedClass`), or one such
 *   member. The tag is the stored type of the event.
 * - `evolve` is total and pure. It is a function, or a record with one handler for each `_tag` of the events.
 * - `decide` is pure. It returns the new events, or a typed rejection. It is a function, or a record with one handler
 *   for each `_tag` of the commands.
 * - `rejection` is an optional schema of the rejections. It must accept every rejection of `decide`.
 * - `schemaVersion` is the version of the state's schema: a positive integer, by default 1. Raise it when the meaning
 *   of the state changes. Loads then migrate older snapshots if `migrations` lead from their version to this one, and
 *   replay all events otherwise.
 * - `upcasts` define by stored type how to read the events of older code.
 *
 * A command fails if one of its events has a field that the event's schema lacks, because the field would be dropped
 * without an error. A schema allows such fields with `.annotations({ parseOptions: { onExcessProperty: "ignore" } })`.
 *
 * Throws `InvalidOption` if the definition cannot work.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { Either, Schema } from "effect"
 *
 * class Counted extends Schema.TaggedClass<Counted>()("Counted", { by: Schema.Int }) {}
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Struct({ total: Schema.Int }),
 *   event: Counted,
 *   command: Schema.TaggedStruct("Count", { by: Schema.Int }),
 *   initial: () => ({ total: 0 }),
 *   evolve: (state, event) => ({ total: state.total + event.by }),
 *   decide: (_state, { by }) => by < 0 ? Either.left("negative" as const) : Either.right([new Counted({ by })])
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Id,
  IdSchema,
  State,
  StateEncoded,
  StateSchema,
  Event extends { readonly _tag: string },
  EventEncoded,
  EventSchema,
  Command,
  CommandEncoded,
  CommandSchema,
  const Initial extends Types.EvolvedBound,
  const Evolved extends Types.EvolvedBound,
  const Evolutions extends Types.AnyEvolutions,
  Decision extends Types.AnyDecision | Types.Sentence,
  Decisions extends Types.AnyDecisions,
  RejectionSchema extends Types.RejectionBound = never,
  Version extends number = 1
>(
  definition:
    & {
      readonly name: Name
      readonly id: IdSchema & Schema.Schema<Id, string>
      readonly state: StateSchema & Schema.Schema<State, StateEncoded>
      readonly event: EventSchema & Schema.Schema<Event, EventEncoded>
      readonly command: CommandSchema & Schema.Schema<Command, CommandEncoded>
      readonly rejection?: RejectionSchema | undefined
      readonly schemaVersion?: Version | undefined
      readonly migrations?: Versions.Versions<number, NoInfer<Version>, NoInfer<State>> | undefined
      readonly upcasts?: { readonly [storedType: string]: Versions.Upcast<NoInfer<Event>> } | undefined
      readonly initial: (id: NoInfer<Id>) => Initial
      readonly evolve:
        | ((state: NoInfer<State>, event: NoInfer<Event>) => Evolved)
        | Types.EvolveHandlers<State, Event, Evolutions>
      readonly decide:
        | ((state: NoInfer<State>, command: NoInfer<Command>) => Decision)
        | Types.DecideHandlers<State, Command, Decisions>
    }
    & Types.Checks<Id, State, Event, Command, Initial, Evolved, Evolutions, Decision, Decisions, RejectionSchema>
): Types.Made<
  Name,
  Id,
  State,
  Event,
  Command,
  Decision,
  Decisions,
  SchemasOf<IdSchema, StateSchema, EventSchema, CommandSchema, RejectionSchema>
> => {
  const { migrations, schemaVersion = 1 } = definition
  const own = fingerprint(definition.state)
  checkDefinition(definition, schemaVersion, own)
  const event = makeEventCodec(definition.name, definition.event, definition.upcasts)
  const { decide, evolve } = handlersOf(definition)
  return Unfollowed.made({
    [TypeId]: TypeId,
    name: definition.name,
    schemas: Unfollowed.schemasOf<IdSchema, StateSchema, EventSchema, CommandSchema, RejectionSchema>(definition),
    schemaVersion,
    fingerprint: own,
    id: codec(definition.id),
    state: codec(definition.state),
    migrations: migrations?.sources ?? [],
    event,
    command: Schema.typeSchema(definition.command),
    // a program may give the same object each time, and `evolve` may change it
    initial: (id) => copy(Unfollowed.asState<State, Initial>(definition.initial(id))),
    evolve: Unfollowed.evolving<State, Event>(evolve),
    decide: Unfollowed.deciding<State, Event, Command, Decision, Decisions>(decide)
  })
}

/**
 * Folds events with `evolve`, from `initial(id)`.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: () => Either.right([{ _tag: "Counted" }])
 * })
 *
 * Aggregate.replay(Counter, "a", [{ _tag: "Counted" }, { _tag: "Counted" }]) // 2
 * ```
 *
 * @since 0.1.0
 * @category folding
 */
export const replay: {
  <A extends Any>(id: Id<A>, events: Iterable<Event<A>>): (aggregate: A) => State<A>
  <Name extends string, Id, State, Event, Command, Rejection>(
    aggregate: Aggregate<Name, Id, State, Event, Command, Rejection>,
    id: NoInfer<Id>,
    events: Iterable<NoInfer<Event>>
  ): State
} = dual(3, <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate<Name, Id, State, Event, Command, Rejection>,
  id: Id,
  events: Iterable<Event>
): State => {
  let state = aggregate.initial(id)
  for (const event of events) state = aggregate.evolve(state, event)
  return state
})

/**
 * The result of deciding a list of commands.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decided<out State, out Event> {
  /** The state after all of the events. */
  readonly state: State
  /** The events of all commands, in order. */
  readonly events: ReadonlyArray<Event>
}

/**
 * Decides commands in turn, each on the state after the previous one. The first rejection rejects them all.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", {}),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state) => state + 1,
 *   decide: (state) => state === 2 ? Either.left("full" as const) : Either.right([{ _tag: "Counted" }])
 * })
 *
 * Aggregate.decide(Counter, 1, [{ _tag: "Count" }]) // right: { state: 2, events: [{ _tag: "Counted" }] }
 * Aggregate.decide(Counter, 1, [{ _tag: "Count" }, { _tag: "Count" }]) // left: "full"
 * ```
 *
 * @since 0.1.0
 * @category folding
 */
export const decide: {
  <A extends Any>(
    state: State<A>,
    commands: Iterable<Command<A>>
  ): (aggregate: A) => Either.Either<Decided<State<A>, Event<A>>, Rejection<A>>
  <Name extends string, Id, State, Event, Command, Rejection>(
    aggregate: Aggregate<Name, Id, State, Event, Command, Rejection>,
    state: NoInfer<State>,
    commands: Iterable<NoInfer<Command>>
  ): Either.Either<Decided<State, Event>, Rejection>
} = dual(3, <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate<Name, Id, State, Event, Command, Rejection>,
  state: State,
  commands: Iterable<Command>
): Either.Either<Decided<State, Event>, Rejection> => {
  const events: Array<Event> = []
  let current = state
  for (const command of commands) {
    const decision = aggregate.decide(current, command)
    if (Either.isLeft(decision)) return Either.left(decision.left)
    for (const event of decision.right) {
      current = aggregate.evolve(current, event)
      events.push(event)
    }
  }
  return Either.right({ state: current, events })
})

/**
 * Decodes a stored event of an aggregate, and upcasts it. The result is the event in its envelope, or `Retired` for an
 * event that is ignored on purpose.
 *
 * Fails with an `EventDecodeError`, which has the position and the id of the event, if the event is unreadable, if its
 * payload or the id of its stream does not decode, if the aggregate does not know its type, or if it belongs to another
 * aggregate.
 *
 * @example
 * ```ts
 * import { Aggregate, type Event } from "effect-eventsourcing"
 * import { Either, Schema } from "effect"
 *
 * const Counter = Aggregate.make({
 *   name: "Counter",
 *   id: Schema.String,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Counted", { by: Schema.Int }),
 *   command: Schema.TaggedStruct("Count", {}),
 *   initial: () => 0,
 *   evolve: (state, event) => state + event.by,
 *   decide: () => Either.right([{ _tag: "Counted", by: 1 }])
 * })
 *
 * const amount = (recorded: Event.RecordedEvent) =>
 *   Either.map(
 *     Aggregate.decodeRecorded(Counter, recorded),
 *     (decoded) => decoded._tag === "Event" ? decoded.event.by : 0
 *   )
 * ```
 *
 * @since 0.1.0
 * @category decoding
 */
export const decodeRecorded: <Name extends string, Id, Event>(
  aggregate: Decodable<Name, Id, Event>,
  recorded: RecordedEvent | UnreadableEvent
) => Either.Either<DecodedEvent<Name, Id, Event> | RetiredEvent<Name>, EventDecodeError> = Recorded.decodeRecorded

/**
 * Makes a decoder of the stored events of several aggregates, as a feed gives them. The field `aggregate` of a result
 * names its aggregate. The events of other aggregates are `Foreign`, even if they are unreadable.
 *
 * The decoder fails like {@link decodeRecorded}. Throws `InvalidOption` if two aggregates have the same name.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { Either, Schema } from "effect"
 *
 * const common = { id: Schema.String, state: Schema.Int, command: Schema.TaggedStruct("Do", {}), initial: () => 0 }
 * const Account = Aggregate.make({
 *   ...common,
 *   name: "Account",
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   evolve: (state, event) => state + event.amount,
 *   decide: () => Either.right([])
 * })
 * const Order = Aggregate.make({
 *   ...common,
 *   name: "Order",
 *   event: Schema.TaggedStruct("Shipped", { carrier: Schema.String }),
 *   evolve: (state) => state,
 *   decide: () => Either.right([])
 * })
 *
 * const decode = Aggregate.decoder(Account, Order)
 *
 * const describe = (decoded: Either.Either.Right<ReturnType<typeof decode>>): string => {
 *   if (decoded._tag !== "Event") return "not for us"
 *   switch (decoded.aggregate) {
 *     case "Account":
 *       return `${decoded.event.amount} to ${decoded.aggregateId}`
 *     case "Order":
 *       return `${decoded.aggregateId} by ${decoded.event.carrier}`
 *   }
 * }
 * ```
 *
 * @since 0.1.0
 * @category decoding
 */
export const decoder = <const Aggregates extends ReadonlyArray<AnyDecodable>>(
  ...aggregates: Aggregates
): (
  recorded: RecordedEvent | UnreadableEvent
) => Either.Either<Decoded<Aggregates[number]> | ForeignEvent, EventDecodeError> => Recorded.decoder(aggregates)

const codec = <A, I>(schema: Schema.Schema<A, I>): Codec<A, I> => ({
  schema: Schema.typeSchema(schema),
  encode: Plain.encoder(schema),
  decode: Plain.decoder(schema)
})
