// The values of personal data, which `Personal` exports, and their schema.
// Mechanism: a value is kept in a private field, so that nothing that prints, copies or encodes objects finds it. The
// schema's encoded side is a plain object with a marker, by which the stores find what they seal.
import type * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import { NodeInspectSymbol } from "effect/Inspectable"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import { InvalidOption } from "../../InvalidOption.js"
import { areAlike } from "./equality.js"
import { holdsPersonal, personalMarker, personalTag } from "./secrets.js"

/**
 * Identifies personal data.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export const TypeId: TypeId = "~effect-eventsourcing/Personal"

/**
 * Identifies personal data.
 *
 * @since 0.1.0
 * @category Type IDs
 */
export type TypeId = "~effect-eventsourcing/Personal"

/** The key that marks personal data in JSON. */
export const marker = personalMarker

const hidden = "Personal(<redacted>)"

abstract class Value<out Tag extends string, out Subject> {
  readonly #subject: Subject

  constructor(subject: Subject) {
    this.#subject = subject
  }

  get [TypeId](): TypeId {
    return TypeId
  }

  abstract get _tag(): Tag

  /** The person, or whom else the data is about. */
  get subject(): Subject {
    return this.#subject
  }

  [Equal.symbol](that: unknown): boolean {
    return isPersonal(that) && that._tag === this._tag && areAlike(this.subject, that.subject)
  }

  [Hash.symbol](): number {
    const { subject } = this
    return Hash.combine(Hash.string(this._tag))(Hash.string(typeof subject === "string" ? subject : TypeId))
  }

  toString(): string {
    return hidden
  }

  toJSON(): string {
    return hidden
  }

  [NodeInspectSymbol](): string {
    return hidden
  }
}

/**
 * Personal data that can be read.
 *
 * It is printed, logged and encoded by `JSON.stringify` as `Personal(<redacted>)`. Two are equal if their subjects and
 * their values are.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const initial = (name: Personal.Personal<string, string>) => name instanceof Personal.Present ? name.value[0] : "?"
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class Present<out Subject, out A> extends Value<"Present", Subject> {
  readonly #value: A

  constructor(subject: Subject, value: A) {
    super(subject)
    this.#value = value
  }

  /** Tells `Present` from `Erased`. */
  get _tag(): "Present" {
    return "Present"
  }

  /** The data. */
  get value(): A {
    return this.#value
  }

  override [Equal.symbol](that: unknown): boolean {
    return super[Equal.symbol](that) && that instanceof Present && areAlike(this.value, that.value)
  }
}

/**
 * Personal data whose subject was erased.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const isGone = (name: Personal.Personal<string, string>) => name instanceof Personal.Erased
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export class Erased<out Subject> extends Value<"Erased", Subject> {
  /** Tells `Erased` from `Present`. */
  get _tag(): "Erased" {
    return "Erased"
  }
}

/**
 * Personal data of a subject: present, or erased.
 *
 * @since 0.1.0
 * @category models
 */
export type Personal<Subject, A> = Present<Subject, A> | Erased<Subject>

/**
 * The encoded form of personal data in events, commands and states, before it is sealed.
 *
 * @since 0.1.0
 * @category models
 */
export type Encoded<I> =
  | { readonly $personal: string; readonly value: I }
  | { readonly $personal: string; readonly erased: true }

export const isPersonal = (value: unknown): value is Personal<unknown, unknown> => Predicate.hasProperty(value, TypeId)

export const schema = <Subject, A, I>(
  subject: Schema.Schema<Subject, string>,
  value: Schema.Schema<A, I>
): Schema.Schema<Personal<Subject, A>, Encoded<I>> => {
  if (holdsPersonal(value.ast)) {
    throw new InvalidOption({
      option: "Personal.schema value",
      value: "a schema that holds personal data itself",
      expected: "a schema without: seal each part on its own"
    })
  }
  const encoded = Schema.Union(
    Schema.Struct({ [marker]: subject, value }),
    Schema.Struct({ [marker]: subject, erased: Schema.Literal(true) })
  ).annotations({ identifier: "personal data that a key of its subject opens" })
  return Schema.transform(encoded, fromSelf(Schema.typeSchema(subject), Schema.typeSchema(value)), {
    strict: true,
    decode: (encoded): Personal<Subject, A> =>
      "erased" in encoded ? new Erased(encoded[marker]) : new Present(encoded[marker], encoded.value),
    encode: (personal) =>
      personal._tag === "Erased"
        ? { [marker]: personal.subject, erased: true as const }
        : { [marker]: personal.subject, value: personal.value }
  })
}

const fromSelf = <Subject, A>(
  subject: Schema.Schema<Subject>,
  value: Schema.Schema<A>
): Schema.Schema<Personal<Subject, A>> =>
  Schema.declare([subject, value], {
    decode: (subject, value) => validate(ParseResult.is(subject), ParseResult.is(value)),
    encode: (subject, value) => validate(ParseResult.is(subject), ParseResult.is(value))
  }, {
    typeConstructor: { _tag: personalTag },
    description: hidden,
    pretty: () => () => hidden,
    arbitrary: (subject, value) => (fc) =>
      fc.oneof(
        fc.tuple(subject(fc), value(fc)).map(([subject, value]) => new Present(subject, value)),
        subject(fc).map((subject) => new Erased(subject))
      ),
    equivalence: (subject, value) => (left, right) =>
      left._tag === "Present"
        ? right._tag === "Present" && subject(left.subject, right.subject) && value(left.value, right.value)
        : right._tag === "Erased" && subject(left.subject, right.subject)
  })

// a place inside the value would be named with it
const validate = <Subject, A>(
  isSubject: (input: unknown) => input is Subject,
  isValue: (input: unknown) => input is A
) =>
(
  input: unknown,
  _: AST.ParseOptions,
  ast: AST.Declaration
): Effect.Effect<Personal<Subject, A>, ParseResult.ParseIssue> => {
  if (isPersonal(input) && isSubject(input.subject)) {
    if (input._tag === "Erased") return ParseResult.succeed(new Erased(input.subject))
    if (isValue(input.value)) return ParseResult.succeed(new Present(input.subject, input.value))
  }
  return ParseResult.fail(new ParseResult.Type(ast, input))
}
