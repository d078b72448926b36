import type * as Either from "effect/Either"
import type * as Schema from "effect/Schema"
import type { Aggregate, Handled } from "./model.js"

declare const unknownEvent: unique symbol

// Where the events of `decide` are looked at, their schema may not be inferred yet, so a constraint cannot name them. A union with
// a literal in it keeps the literals that stand in its place from widening to string, in every way to write the function
export interface EventLiteral {
  readonly _tag: "" | (string & {})
  readonly [unknownEvent]?: never
  readonly [field: string]:
    | ""
    | (string & {})
    | 0
    | (number & {})
    | boolean
    | bigint
    | symbol
    | object
    | null
    | undefined
}

// instances of classes have no index signature
export interface EventObject {
  readonly _tag: string
  readonly [unknownEvent]?: never
}

/** What `decide` returns, before its events are checked. */
export type AnyDecision = Either.Either<ReadonlyArray<EventLiteral | EventObject>, unknown>

// the sentence is what the compiler prints for another value
export type Sentence = "decide returns Either.right with a list of events, or Either.left with a rejection"

// as wide as unknown, and yet it can be told from an `unknown` that is inferred. With the primitives named, a state that is a
// literal does not widen
export type EvolvedBound = {} | null | undefined | string | number | bigint | boolean | symbol

/** The decisions of the handlers, by tag. It has an index signature if `decide` is a function. */
export interface AnyDecisions {
  readonly [tag: string]: AnyDecision | Sentence
}

/** The states that the handlers return, by tag. It has an index signature if `evolve` is a function. */
export interface AnyEvolutions {
  readonly [tag: string]: EvolvedBound
}

export type LeftOf<Decision> = Decision extends Either.Either<infer _Events, infer Rejection> ? Rejection : never

// While a type is not inferred yet, the compiler takes its constraint. A check would then be in the way of the parameters
// of handlers
type IsInferred<Evolved> = unknown extends Evolved ? true extends (Evolved extends {} ? true : false) ? false : true
  : true

export type DecidedOf<Decision, Decisions> = string extends keyof Decisions ? Decision : Decisions[keyof Decisions]

/** One handler for each command. Their decisions are inferred from the record, tag by tag. */
export type DecideHandlers<State, Command, Decisions> =
  & {
    readonly [Tag in keyof Decisions]: (
      state: NoInfer<State>,
      command: NoInfer<Extract<Command, { readonly _tag: Tag }>>
    ) => Decisions[Tag]
  }
  & (string extends keyof Decisions ? { readonly [Tag in TagOf<Command>]: unknown } : unknown)

/** One handler for each event. */
export type EvolveHandlers<State, Event, Evolutions> =
  & {
    readonly [Tag in keyof Evolutions]: (
      state: NoInfer<State>,
      event: NoInfer<Extract<Event, { readonly _tag: Tag }>>
    ) => Evolutions[Tag]
  }
  & (string extends keyof Evolutions ? { readonly [Tag in TagOf<Event>]: unknown } : unknown)

// not a conditional type: a look at each member costs more than the rest
type TagOf<A> = A["_tag" & keyof A] & string

/**
 * What the types of the parts have to be to each other. While the decision is not inferred yet, there is nothing to check:
 * the compiler asks for this type at every literal in the body of `decide`.
 */
export type Checks<
  Id,
  State,
  Event extends { readonly _tag: string },
  Command,
  Initial,
  Evolved,
  Evolutions,
  Decision,
  Decisions,
  RejectionSchema
> = IsUndecided<Decision, Decisions> extends true ? unknown :
  & OnlyInitial<Initial, NoInfer<Id>, NoInfer<State>>
  & OnlyStates<Evolved, Evolutions, Event, NoInfer<State>>
  & OnlyEvents<Decision, Decisions, Command, Event>
  & OnlyRejections<Decision, Decisions, RejectionSchema>

// the third question is for `any`
type IsUndecided<Decision, Decisions> = string extends keyof Decisions
  ? [AnyDecision] extends [Decision] ? unknown extends Decision ? false : true : false
  : false

/**
 * Checks that a function gives events of the schema, or that each handler does, and that no handler is of another command.
 */
type OnlyEvents<Decision, Decisions, Command, Event extends { readonly _tag: string }> = string extends
  keyof Decisions ? OnlyEventsOf<Decision, Event>
  : { readonly decide: DecideChecks<Decisions, TagOf<Command>, Event> }

type DecideChecks<Decisions, Tags extends string, Event extends { readonly _tag: string }> =
  & { readonly [Tag in Tags]: DecideCheck<Tag extends keyof Decisions ? Decisions[Tag] : never, Event> }
  & { readonly [Tag in Extra<Decisions, Tags>]: `The command schema has no command that is tagged "${Tag}"` }

type DecideCheck<Decision, Event extends { readonly _tag: string }> = [Decision] extends
  [Either.Either<ReadonlyArray<Event>, unknown>] ? unknown
  : [AnyDecision] extends [Decision] ? unknown
  : (state: never, command: never) => WrongEvent<DecidedEvent<Decision>, Event>

/** Checks that a function gives a state, or that each handler does, and that no handler is of another event. */
type OnlyStates<Evolved, Evolutions, Event, State> = string extends keyof Evolutions ? OnlyStatesOf<Evolved, State>
  : { readonly evolve: EvolveChecks<Evolutions, TagOf<Event>, State> }

type EvolveChecks<Evolutions, Tags extends string, State> =
  & { readonly [Tag in Tags]: EvolveCheck<Tag extends keyof Evolutions ? Evolutions[Tag] : never, State> }
  & { readonly [Tag in Extra<Evolutions, Tags>]: `The event schema has no event that is tagged "${Tag}"` }

// a handler whose type is not inferred yet returns `unknown`: a check would be in the way of its parameters
type EvolveCheck<Evolved, State> = unknown extends Evolved ? unknown
  : [Evolved] extends [State] ? unknown
  : [Evolved] extends [ReadonlyState<State>] ? unknown
  : (state: never, event: never) => State

type Extra<Handlers, Tags> = Handlers extends unknown ? Exclude<keyof Handlers & string, Tags> : never

/** A schema without services, which may be that of no value. */
export type RejectionBound = Schema.Schema.AnyNoContext | Schema.Schema<never>

/** Checks that `decide` rejects only with values of the rejection schema. */
type OnlyRejections<Decision, Decisions, RejectionSchema> = [RejectionSchema] extends [never] ? unknown
  : RejectionSchema extends RejectionBound ? OnlyRejectionsOf<DecidedOf<Decision, Decisions>, RejectionSchema["Type"]>
  : unknown

type OnlyRejectionsOf<Decided, Rejection> = [LeftOf<Decided>] extends [Rejection] ? unknown
  : [AnyDecision] extends [Decided] ? unknown
  : { readonly decide: "decide rejects with a value that the rejection schema does not have" }

/** The aggregate that `make` gives: with the rejections of each command, if `decide` is a record of handlers. */
export type Made<
  Name extends string,
  Id,
  State,
  Event,
  Command,
  Decision,
  Decisions extends AnyDecisions,
  Schemas
> = string extends keyof Decisions ? Aggregate<Name, Id, State, Event, Command, LeftOf<Decision>, Schemas>
  : Handled<
    Name,
    Id,
    State,
    Event,
    Command,
    { readonly [Tag in keyof Decisions]: LeftOf<Decisions[Tag]> },
    Schemas
  >

// the sentence is what the compiler prints last
type OnlyEventsOf<Decision, Event extends { readonly _tag: string }> = [Decision] extends
  [Either.Either<ReadonlyArray<Event>, unknown>] ? unknown
  : [AnyDecision] extends [Decision] ? unknown
  : { readonly decide: (state: never, command: never) => WrongEvent<DecidedEvent<Decision>, Event> }

type DecidedEvent<Decision> = Decision extends Either.Either<infer Events, infer _Rejection>
  ? Events extends ReadonlyArray<infer Event> ? Event : never
  : never

type WrongEvent<Decided, Event extends { readonly _tag: string }> = Decided extends Event ? never
  : typeof unknownEvent extends keyof Decided ? Sentence
  : Decided extends { readonly _tag: infer Tag extends string } ?
    string extends Tag ?
      "The _tag of an event is only known to be a string: write `as const` after the event, or build it by its schema"
    : Tag extends Event["_tag"] ? WrongField<Tag, Decided, Extract<Event, { readonly _tag: Tag }>>
    : `The event schema has no event that is tagged "${Tag}"`
  : never

type WrongField<Tag extends string, Decided, Event> = {
  readonly [Field in keyof Event & string]: Field extends keyof Decided ? Decided[Field] extends Event[Field] ? never
    : `The field "${Field}" of the event "${Tag}" has another type than in its schema`
    : {} extends Pick<Event, Field> ? never
    : `The event "${Tag}" lacks the field "${Field}" of its schema`
}[keyof Event & string]

// states are inferred as constants: their literals do not widen, and their arrays are read-only
type OnlyInitial<Initial, Id, State> = [Initial] extends [State] ? unknown
  : [Initial] extends [ReadonlyState<State>] ? unknown
  : { readonly initial: (id: Id) => State }

type OnlyStatesOf<Evolved, State> = IsInferred<Evolved> extends false ? unknown
  : [Evolved] extends [State] ? unknown
  : [Evolved] extends [ReadonlyState<State>] ? unknown
  : { readonly evolve: (state: never, event: never) => State }

type ReadonlyState<A> = A extends ReadonlyArray<infer Item> ? ReadonlyArray<ReadonlyState<Item>>
  : A extends object ? { readonly [K in keyof A]: ReadonlyState<A[K]> }
  : A
