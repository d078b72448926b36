import type * as Either from "effect/Either"

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

// the sentence is what the compiler prints last
export type OnlyEvents<Decision, Event extends { readonly _tag: string }> = [Decision] extends
  [Either.Either<ReadonlyArray<Event>, unknown>] ? unknown
  : { readonly decide: (state: never, command: never) => WrongEvent<DecidedEvent<Decision>, Event> }

type DecidedEvent<Decision> = Decision extends Either.Either<infer Events, infer _Rejection>
  ? Events extends ReadonlyArray<infer Event> ? Event : never
  : never

type WrongEvent<Decided, Event extends { readonly _tag: string }> = Decided extends Event ? never
  : typeof unknownEvent extends keyof Decided ?
    "decide returns Either.right with a list of events, or Either.left with a rejection"
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
export type OnlyStates<Initial, Evolved, Id, State, Event> =
  & ([Initial] extends [State] ? unknown
    : [Initial] extends [ReadonlyState<State>] ? unknown
    : { readonly initial: (id: Id) => State })
  & ([Evolved] extends [State] ? unknown
    : [Evolved] extends [ReadonlyState<State>] ? unknown
    : { readonly evolve: (state: State, event: Event) => State })

type ReadonlyState<A> = A extends ReadonlyArray<infer Item> ? ReadonlyArray<ReadonlyState<Item>>
  : A extends object ? { readonly [K in keyof A]: ReadonlyState<A[K]> }
  : A
