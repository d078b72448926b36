// events that are decoded without being copied come out as Schema decodes them
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Either, FastCheck as fc, Schema } from "effect"
import { decoder, encoder, plain } from "../src/internal/schema/codec.js"
import { everything } from "./utils/mode.js"

const Line = Schema.Struct({ sku: Schema.NonEmptyString, quantity: Schema.Int })

const schemas: Readonly<Record<string, Schema.Schema.AnyNoContext>> = {
  text: Schema.TaggedStruct("A", { a: Schema.String, b: Schema.NullOr(Schema.String) }),
  numbers: Schema.TaggedStruct("A", { a: Schema.Number, b: Schema.Int.pipe(Schema.between(-5, 5)) }),
  literals: Schema.TaggedStruct("A", { a: Schema.Literal("x", 1, true, null), b: Schema.Boolean }),
  nested: Schema.TaggedStruct("A", { a: Line, b: Schema.Array(Line) }),
  "a filter over a struct": Schema.Struct({ a: Schema.Number, b: Schema.Number }).pipe(
    Schema.filter(({ a, b }) => a < b)
  ),
  "numeric keys": Schema.Struct({ b: Schema.Number, 2: Schema.Number, 1: Schema.Number, a: Schema.Number }),
  "brands": Schema.Struct({ a: Schema.String.pipe(Schema.brand("A")), b: Schema.Array(Schema.Literal("x", "y")) })
}

const notPlain: Readonly<Record<string, Schema.Schema.AnyNoContext>> = {
  "an optional field": Schema.Struct({ a: Schema.optional(Schema.String) }),
  "a default": Schema.Struct({ a: Schema.optionalWith(Schema.String, { default: () => "" }) }),
  "a transformation": Schema.Struct({ a: Schema.NumberFromString }),
  "a class": class A extends Schema.TaggedClass<A>()("A", { a: Schema.String }) {},
  "a union of structs": Schema.Struct({ a: Schema.Union(Schema.Struct({ a: Schema.Int }), Line) }),
  "a record": Schema.Struct({ a: Schema.Record({ key: Schema.String, value: Schema.Int }) }),
  "no fields": Schema.Struct({}),
  "a key __proto__": Schema.Struct({ ["__proto__"]: Schema.Int }),
  "options of its own": Schema.Struct({
    a: Schema.Number.pipe(Schema.filter((_, options) => options.errors !== "all"))
  })
    .annotations({ parseOptions: { errors: "all" } }),
  "a tuple": Schema.Struct({ a: Schema.Tuple(Schema.Int, Schema.optionalElement(Schema.Int)) })
}

const key = fc.constantFrom("_tag", "a", "b", "c", "1", "2", "sku", "quantity", "__proto__", "constructor")
const { hostile } = fc.letrec((tie) => ({
  hostile: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom("A", "x", "", 1, 0, -0, 0.5, 7, true, null, 1e308),
    fc.fullUnicodeString(),
    fc.array(tie("hostile"), { maxLength: 3 }),
    fc.array(fc.tuple(key, tie("hostile")), { maxLength: 5 }).map((fields) =>
      JSON.parse(`{${fields.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`)
    )
  )
}))

/** What a program may hold, and JSON not. */
const live = fc.oneof(
  fc.array(fc.constantFrom("x", "y"), { maxLength: 3 }).map((array) => {
    const holes: Array<string> = []
    for (const [index, item] of array.entries()) holes[2 * index + 1] = item
    return { a: "a", b: holes }
  }),
  fc.record({
    _tag: fc.constant("A"),
    a: fc.constantFrom(NaN, Infinity, undefined, "x", 1, true),
    b: fc.constantFrom(-0, undefined, "x", null, 3, false)
  })
)

/** What a stored payload may have become: keys more, fewer, in another order, of other values. */
const changed = (value: unknown): fc.Arbitrary<unknown> => {
  const fields = Object.entries(Object(value))
  return fc.tuple(
    fc.shuffledSubarray(fields, { minLength: Math.max(0, fields.length - 1) }),
    fc.array(fc.tuple(key, hostile), { maxLength: 1 })
  )
    .map(([kept, added]) =>
      JSON.parse(
        `{${[...kept, ...added].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`
      )
    )
}

// with the order of the keys, and what is no own key of a record
const shown = (value: unknown) => JSON.stringify(value, (_, field) => Object.is(field, -0) ? "-0" : field)

describe("plain events", () => {
  for (const [name, schema] of Object.entries(schemas)) {
    const isDecoded = plain(schema)!
    const decode = Schema.decodeUnknownEither(schema)
    const agree = (json: unknown) => {
      if (!isDecoded(json)) return
      const decoded = decode(json)
      assert.isTrue(Either.isRight(decoded), `${name}: the schema refuses ${shown(json)}`)
      if (Either.isRight(decoded)) {
        assert.deepStrictEqual(json, decoded.right)
        assert.strictEqual(shown(json), shown(decoded.right))
      }
    }

    it(`${name}: decoders use an encoded event as it is, and agree with Schema on any input`, () => {
      let taken = 0
      fc.assert(
        fc.property(
          Arbitrary.make(schema).chain((value) => {
            const encoded = JSON.parse(JSON.stringify(Schema.encodeSync(schema)(value)))
            return fc.tuple(fc.constant(encoded), changed(encoded), hostile)
          }),
          ([encoded, ...others]) => {
            if (isDecoded(encoded)) taken++
            for (const json of [encoded, ...others]) agree(json)
          }
        ),
        { numRuns: everything ? 300 : 100 }
      )
      assert.isAbove(taken, everything ? 100 : 30)
    })

    it(`${name}: encoders and decoders give the results of Schema`, () => {
      const fns = [
        [encoder(schema), Schema.encodeUnknownEither(schema)],
        [decoder(schema), Schema.decodeUnknownEither(schema)]
      ] as const
      fc.assert(
        fc.property(
          Arbitrary.make(schema).chain((value) => fc.tuple(fc.constant(value), changed(value), live, hostile)),
          (values) => {
            for (const value of values) {
              for (const [ours, theirs] of fns) {
                const [left, right] = [ours(value), theirs(value)]
                assert.deepStrictEqual(left, right)
                assert.strictEqual(shown(left), shown(right))
              }
            }
          }
        ),
        { numRuns: everything ? 300 : 100 }
      )
    })
  }

  for (const [name, schema] of Object.entries(notPlain)) {
    it(`${name} is left to Schema`, () => {
      assert.isUndefined(plain(schema))
    })
  }

  it("a value that JSON would change is left to Schema", () => {
    const isPlain = plain(Schema.Struct({ a: Schema.Array(Schema.Number) }))!
    class Money extends Array<number> {
      toJSON() {
        return Array.from(this, (cents) => cents / 100)
      }
    }
    const hidden = (value: object) => Object.defineProperty(value, "toJSON", { value: () => [] })
    assert.isTrue(isPlain({ a: [100, 200] }))
    for (
      const value of [
        { a: Money.from([100, 200]) },
        { a: hidden([100, 200]) },
        { a: Object.setPrototypeOf([100, 200], null) },
        hidden({ a: [100, 200] })
      ]
    ) {
      assert.isFalse(isPlain(value))
    }
  })

  it("a value that is not a plain record is left to Schema", () => {
    const isDecoded = plain(Schema.Struct({ a: Schema.Int }))!
    class A {
      a = 1
    }
    assert.isTrue(isDecoded({ a: 1 }))
    for (
      const value of [new A(), Object.create({ a: 1 }), Object.assign(Object.create(null), { a: 1 }), [1], null, "a"]
    ) {
      assert.isFalse(isDecoded(value))
    }
  })
})
