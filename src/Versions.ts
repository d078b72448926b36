/**
 * Reads values that older versions of a schema have stored.
 *
 * A chain lists the versions of a schema, oldest first, with a step from each version to the next. `Aggregate.make`
 * takes chains for its state (`migrations`) and its events (`upcasts`). Cost: a value of an old version is decoded with
 * its own schema and takes every step that follows. A value of the last version takes no step.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import { fingerprint } from "./internal/schema/fingerprint.js"
import { safely } from "./internal/schema/safely.js"
import { InvalidOption } from "./InvalidOption.js"

/**
 * Identifies a chain of versions.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const TypeId: TypeId = "~effect-eventsourcing/Versions"

/**
 * Identifies a chain of versions.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type TypeId = "~effect-eventsourcing/Versions"

/**
 * A chain from version `First` to version `Last`. The last version decodes to `A`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Versions<out First extends number, out Last extends number, out A> {
  readonly [TypeId]: {
    readonly _First: (_: never) => First
    readonly _Last: (_: never) => Last
  }
  readonly first: number
  readonly last: number
  /** The schema of the last version. */
  readonly ast: AST.AST
  readonly fingerprint: string
  /** Every version before the last, oldest first. */
  readonly sources: ReadonlyArray<Source<A>>
}

/**
 * A chain that can be extended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Chain<First extends number, Last extends number, A> extends Versions<First, Last, A> {
  /**
   * Adds the next version: its schema, and the step that leads to it. The step is a pure function between the decoded
   * sides, whose result is validated by the new schema, or a Schema transformation.
   */
  readonly to: <B, I>(
    schema: Schema.Schema<B, I>,
    step: ((previous: A) => B) | Schema.Schema<B, A>
  ) => Chain<First, Next<Last>, B>
}

/**
 * An old version: its number, its fingerprint, and its decoder to the last version.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source<out A> {
  readonly version: number
  readonly fingerprint: string
  readonly ast: AST.AST
  /** Decodes by the old schema, then takes every step up to the last version. */
  readonly decode: (encoded: unknown) => Either.Either<A, ParseResult.ParseError>
}

/**
 * Any chain of versions, for constraints: `V extends Versions.Any`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends Versions<number, number, unknown> {}

/**
 * Begins a chain with the oldest version that must still be read, and its number. Throws `InvalidOption` unless the
 * number is a whole number, 1 or more.
 *
 * @example
 * ```ts
 * import { Versions } from "effect-eventsourcing"
 * import { Schema } from "effect"
 *
 * const AccountV1 = Schema.Struct({ balance: Schema.Int })
 * const AccountV2 = Schema.Struct({ balance: Schema.Int, currency: Schema.String })
 * const AccountV3 = Schema.Struct({ cents: Schema.Int, currency: Schema.String })
 *
 * const migrations = Versions.from(1, AccountV1)
 *   .to(AccountV2, ({ balance }) => ({ balance, currency: "EUR" }))
 *   .to(AccountV3, ({ balance, currency }) => ({ cents: balance * 100, currency }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const from = <const First extends number, A, I>(
  first: First,
  schema: Schema.Schema<A, I>
): Chain<First, First, A> => {
  if (!Number.isSafeInteger(first) || first < 1) {
    throw new InvalidOption({
      option: "Versions.from",
      value: `a chain that begins at version ${first}`,
      expected: "a chain that begins at a whole number, 1 or more"
    })
  }
  return make({ first, last: first, schema, sources: [] })
}

/**
 * The way in which a stored event type of older code is read.
 *
 * - `Versions`: its shape changed. The chain leads from the old shapes to a member of the event union.
 * - {@link renamed}: it is read as another type.
 * - {@link retired}: it is ignored. It still counts as a version of its stream.
 *
 * @since 0.1.0
 * @category models
 */
export type Upcast<Event extends { readonly _tag: string }> =
  | Versions<number, number, Event>
  | Renamed<StoredType<Event["_tag"]>>
  | Retired

/**
 * The types under which the versions of an event are stored: `Deposited` is version 1, `Deposited@2` is version 2.
 *
 * @since 0.1.0
 * @category models
 */
export type StoredType<Tag extends string> = Tag | `${Tag}@${number}`

/**
 * A stored type that is read as another one, see {@link renamed}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Renamed<out Type extends string> {
  readonly _tag: "Renamed"
  readonly type: Type
}

/**
 * A stored type that is ignored, see {@link retired}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retired {
  readonly _tag: "Retired"
}

/**
 * Reads a stored type as another one: an old `MoneyDeposited` is now a `Deposited`, or a `Deposited@2` if its shape has
 * changed since.
 *
 * @example
 * ```ts
 * import { Versions } from "effect-eventsourcing"
 *
 * const upcasts = { MoneyDeposited: Versions.renamed("Deposited") }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const renamed = <const Type extends string>(type: Type): Renamed<Type> => ({ _tag: "Renamed", type })

/**
 * Ignores a stored type on purpose: the event keeps its version in the stream, and `evolve` never sees it.
 *
 * @example
 * ```ts
 * import { Versions } from "effect-eventsourcing"
 *
 * const upcasts = { QuoteRequested: Versions.retired }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const retired: Retired = { _tag: "Retired" }

type Units<N extends number, Found extends ReadonlyArray<unknown> = []> = Found["length"] extends N ? Found
  : Units<N, [...Found, unknown]>

type Next<N extends number> = number extends N ? number
  : `${N}` extends `-${string}` | `${string}.${string}` ? never
  : [...Units<N>, unknown]["length"] extends infer Sum extends number ? Sum
  : never

const variance = {
  _First: (_: never) => _,
  _Last: (_: never) => _
}

const make = <First extends number, Last extends number, A, I>(options: {
  readonly first: number
  readonly last: number
  readonly schema: Schema.Schema<A, I>
  readonly sources: ReadonlyArray<Source<A>>
}): Chain<First, Last, A> => {
  const { first, last, schema, sources } = options
  const { ast } = schema
  const ofLast = fingerprint(schema)
  const decode = safely(schema, Schema.decodeUnknownEither(schema))
  return {
    [TypeId]: variance,
    first,
    last,
    ast,
    fingerprint: ofLast,
    sources,
    to: <B, J>(next: Schema.Schema<B, J>, step: ((previous: A) => B) | Schema.Schema<B, A>) => {
      const advance = safely(next, isTransformation(step) ? Schema.decodeEither(step) : byFunction(next, step))
      return make<First, Next<Last>, B, J>({
        first,
        last: last + 1,
        schema: next,
        sources: [
          ...sources.map((source) => ({
            ...source,
            decode: (encoded: unknown) => Either.flatMap(source.decode(encoded), advance)
          })),
          { version: last, fingerprint: ofLast, ast, decode: (encoded) => Either.flatMap(decode(encoded), advance) }
        ]
      })
    }
  }
}

const isTransformation = <A, B>(step: ((previous: A) => B) | Schema.Schema<B, A>): step is Schema.Schema<B, A> =>
  Schema.isSchema(step)

const byFunction = <A, B, I>(schema: Schema.Schema<B, I>, step: (previous: A) => B) => {
  const validate = Schema.validateEither(schema)
  return (previous: A): Either.Either<B, ParseResult.ParseError> => validate(step(previous))
}
