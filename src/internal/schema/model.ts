// The models of Aggregate, which exports them.
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import type * as Versions from "../../Versions.js"

/**
 * Identifies an aggregate.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const TypeId: TypeId = "~effect-eventsourcing/Aggregate"

/**
 * Identifies an aggregate.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type TypeId = "~effect-eventsourcing/Aggregate"

/**
 * The definition of an aggregate. Its functions are pure. `make` infers all of its types.
 *
 * @since 0.1.0
 * @category models
 */
export interface Aggregate<
  in out Name extends string,
  in out Id,
  in out State,
  in out Event,
  in out Command,
  out Rejection,
  out Schemas = unknown
> extends Any {
  readonly name: Name
  /** The schemas that the aggregate was defined with: `id`, `state`, `event`, `command`, and `rejection` if it was given. */
  readonly schemas: Schemas
  readonly id: Codec<Id, string>
  readonly state: Codec<State, unknown>
  /** The older versions of the state's schema whose snapshots can be migrated, oldest first. */
  readonly migrations: ReadonlyArray<Versions.Source<State>>
  readonly event: EventCodec<Event>
  readonly command: Schema.Schema<Command>
  readonly initial: (id: Id) => State
  readonly evolve: (state: State, event: Event) => State
  readonly decide: (state: State, command: Command) => Either.Either<ReadonlyArray<Event>, Rejection>
}

declare const rejectionsByTag: unique symbol

/**
 * An aggregate whose `decide` is a record of handlers. `Rejections` are the rejections of each handler, by the tag of its
 * command.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handled<
  in out Name extends string,
  in out Id,
  in out State,
  in out Event,
  in out Command,
  Rejections,
  out Schemas = unknown
> extends Aggregate<Name, Id, State, Event, Command, Rejections[keyof Rejections], Schemas> {
  /** Exists only in the types. */
  readonly [rejectionsByTag]: Rejections
}

/**
 * The type of the `schemas` of an aggregate, from the types of its schemas. `Rejection` is `never` without a rejection
 * schema.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type SchemasOf<Id, State, Event, Command, Rejection> =
  & { readonly id: Id; readonly state: State; readonly event: Event; readonly command: Command }
  & ([Rejection] extends [never] ? unknown : { readonly rejection: Rejection })

/**
 * Any aggregate, for constraints: `A extends Aggregate.Any`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any {
  readonly [TypeId]: TypeId
  /** The aggregate type in the stores. */
  readonly name: string
  /** The version of the state's schema. */
  readonly schemaVersion: number
  /** A hash of the encoded side of the state's schema. It changes when the stored form of the state changes. */
  readonly fingerprint: string
}

/**
 * The encoder and decoder of one of an aggregate's schemas, with the decoded side of the schema. Both functions are
 * synchronous and may return their argument.
 *
 * @since 0.1.0
 * @category models
 */
export interface Codec<in out A, out Encoded> {
  readonly schema: Schema.Schema<A>
  readonly encode: (value: A) => Either.Either<Encoded, ParseResult.ParseError>
  readonly decode: (encoded: unknown) => Either.Either<A, ParseResult.ParseError>
}

/**
 * The encoder of an aggregate's events, and a decoder for each stored type.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventCodec<in out Event> {
  readonly schema: Schema.Schema<Event>
  /** The stored type of an event: its tag, followed by `@n` if `upcasts` make it version n. */
  readonly typeOf: (event: Event) => string
  /** The stored types that can be decoded, including those of older code. */
  readonly types: ReadonlyArray<string>
  readonly encode: (event: Event) => Either.Either<unknown, ParseResult.ParseError>
  /** Returns `undefined` for a type that is not in {@link EventCodec.types}. The decoder may return its argument. */
  readonly decoder: (type: string) => ((payload: unknown) => Either.Either<Event, ParseResult.ParseError>) | undefined
  /** Tells whether events of this stored type are ignored on purpose. */
  readonly isRetired: (type: string) => boolean
  /** The known stored types of which no event is read as one of these tags, including the retired types. */
  readonly typesWithout: (tags: ReadonlySet<string>) => ReadonlyArray<string>
}

/**
 * The type of an aggregate's id.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Id<A extends Any> = A extends
  Aggregate<infer _Name, infer Id, infer _State, infer _Event, infer _Command, infer _Rejection> ? Id
  : never

/**
 * The type of an aggregate's state.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type State<A extends Any> = A extends
  Aggregate<infer _Name, infer _Id, infer State, infer _Event, infer _Command, infer _Rejection> ? State
  : never

/**
 * The type of an aggregate's events.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Event<A extends Any> = A extends
  Aggregate<infer _Name, infer _Id, infer _State, infer Event, infer _Command, infer _Rejection> ? Event
  : never

/**
 * The type of an aggregate's commands.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Command<A extends Any> = A extends
  Aggregate<infer _Name, infer _Id, infer _State, infer _Event, infer Command, infer _Rejection> ? Command
  : never

/**
 * The type of an aggregate's rejections.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type Rejection<A extends Any> = A extends
  Aggregate<infer _Name, infer _Id, infer _State, infer _Event, infer _Command, infer Rejection> ? Rejection
  : never

/**
 * The rejections that a command can meet, by its tag. They are known for each command if `decide` is a record of handlers.
 * Otherwise, each command may meet all of them.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type RejectionOf<A extends Any, Tag> = A extends { readonly [rejectionsByTag]: infer Rejections }
  ? Rejections[Tag & keyof Rejections]
  : Rejection<A>

/**
 * Whether `decide` of an aggregate is a record of handlers.
 *
 * @since 0.1.0
 * @category type helpers
 */
export type IsHandled<A extends Any> = A extends { readonly [rejectionsByTag]: unknown } ? true : false
