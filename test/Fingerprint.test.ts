import { assert, describe, it } from "@effect/vitest"
import { sha256 as hash } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import { Arbitrary, Either, FastCheck as fc, Schema } from "effect"
import { Aggregate, InvalidOption } from "effect-eventsourcing"
import { canonical, fingerprint } from "../src/internal/schema/fingerprint.js"
import * as Json from "../src/internal/schema/json.js"
import { sha256 } from "../src/internal/schema/sha256.js"

enum Color {
  Red = "red",
  Blue = "blue"
}
enum Colour {
  Red = "red",
  Blue = "navy"
}

interface Tree {
  readonly value: number
  readonly children: ReadonlyArray<Tree>
}
const Tree = Schema.Struct({
  value: Schema.Int,
  children: Schema.Array(Schema.suspend((): Schema.Schema<Tree> => Tree))
})

// recursion through a class and through two schemas that know each other
interface Folder {
  readonly name: string
  readonly files: ReadonlyArray<File>
}
interface File {
  readonly size: number
  readonly within?: Folder | undefined
}
const Folder: Schema.Schema<Folder> = Schema.Struct({
  name: Schema.String,
  files: Schema.Array(Schema.suspend(() => File))
})
const File: Schema.Schema<File> = Schema.Struct({
  size: Schema.Number,
  within: Schema.optional(Schema.suspend(() => Folder))
})
interface NodeEncoded {
  readonly label: string
  readonly next: NodeEncoded | null
}
class Node extends Schema.Class<Node>("Node")({
  label: Schema.String,
  next: Schema.NullOr(Schema.suspend((): Schema.Schema<Node, NodeEncoded> => Node))
}) {}

class Point extends Schema.Class<Point>("Point")({ x: Schema.Number, y: Schema.Number }) {}

const Circle = Schema.Struct({ kind: Schema.Literal("circle"), r: Schema.Number })
const Square = Schema.Struct({ kind: Schema.Literal("square"), side: Schema.Number })

const fields = {
  id: Schema.String,
  count: Schema.Int,
  at: Schema.DateFromString,
  status: Schema.Literal("open", "closed"),
  note: Schema.optional(Schema.String),
  address: Schema.Struct({ street: Schema.String, zip: Schema.String }),
  stock: Schema.Record({ key: Schema.String, value: Schema.Int }),
  pair: Schema.Tuple(Schema.String, Schema.Int),
  shape: Schema.Union(Circle, Square),
  lines: Schema.Array(Schema.Struct({ sku: Schema.String, price: Schema.Int })),
  point: Point,
  tree: Tree,
  color: Schema.Enums(Color),
  path: Schema.TemplateLiteral("/", Schema.String),
  total: Schema.BigInt,
  maybe: Schema.Option(Schema.Int),
  raw: Schema.parseJson(Schema.Struct({ a: Schema.Int, b: Schema.optional(Schema.Int) })),
  short: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("s"))
}
const Base = Schema.Struct(fields)

const { id: _id, ...withoutId } = fields
const { short: _short, ...withoutShort } = fields

const overlapping = [
  Schema.Struct({ a: Schema.Int }),
  Schema.Struct({ a: Schema.Int, b: Schema.Int })
] as const

/** What a team does to a schema that changes what is stored, or how it is read. */
const caught: Record<string, readonly [before: Schema.Schema.AnyNoContext, after: Schema.Schema.AnyNoContext]> = {
  "rename a field": [Base, Schema.Struct({ ...withoutId, identifier: Schema.String })],
  "remove a field": [Base, Schema.Struct(withoutId)],
  "add a field": [Base, Schema.Struct({ ...fields, extra: Schema.String })],
  "add an optional field": [Base, Schema.Struct({ ...fields, extra: Schema.optional(Schema.String) })],
  "add a field with a default": [
    Base,
    Schema.Struct({ ...fields, extra: Schema.optionalWith(Schema.Int, { default: () => 0 }) })
  ],
  "make a field optional": [Base, Schema.Struct({ ...fields, id: Schema.optional(Schema.String) })],
  "make an optional field required": [Base, Schema.Struct({ ...fields, note: Schema.String })],
  "make a field nullable": [Base, Schema.Struct({ ...fields, id: Schema.NullOr(Schema.String) })],
  "null instead of absent": [Base, Schema.Struct({ ...fields, note: Schema.NullOr(Schema.String) })],
  "change a type": [Base, Schema.Struct({ ...fields, id: Schema.Number })],
  "a number as text": [Base, Schema.Struct({ ...fields, count: Schema.NumberFromString })],
  "a date as a number": [Base, Schema.Struct({ ...fields, at: Schema.DateFromNumber })],
  "a bigint as a number": [Base, Schema.Struct({ ...fields, total: Schema.BigIntFromNumber })],
  "an option as null": [Base, Schema.Struct({ ...fields, maybe: Schema.OptionFromNullOr(Schema.Int) })],
  "a scalar becomes a list": [Base, Schema.Struct({ ...fields, id: Schema.Array(Schema.String) })],
  "rename a literal": [Base, Schema.Struct({ ...fields, status: Schema.Literal("open", "shut") })],
  "add a literal": [Base, Schema.Struct({ ...fields, status: Schema.Literal("open", "closed", "frozen") })],
  "remove a literal": [Base, Schema.Struct({ ...fields, status: Schema.Literal("open") })],
  "a literal 1 becomes \"1\"": [Schema.Literal(1), Schema.Literal("1")],
  "a literal null becomes \"null\"": [Schema.Literal(null), Schema.Literal("null")],
  "widen a literal": [Base, Schema.Struct({ ...fields, status: Schema.String })],
  "change the value of an enum": [Base, Schema.Struct({ ...fields, color: Schema.Enums(Colour) })],
  "rename a nested field": [
    Base,
    Schema.Struct({ ...fields, address: Schema.Struct({ street: Schema.String, postcode: Schema.String }) })
  ],
  "flatten a nested struct": [Base, Schema.Struct({ ...fields, address: Schema.String })],
  "another field in a list's element": [
    Base,
    Schema.Struct({ ...fields, lines: Schema.Array(Schema.Struct({ sku: Schema.String, amount: Schema.Int })) })
  ],
  "another value in a record": [
    Base,
    Schema.Struct({ ...fields, stock: Schema.Record({ key: Schema.String, value: Schema.String }) })
  ],
  "a record becomes a struct": [Base, Schema.Struct({ ...fields, stock: Schema.Struct({ a: Schema.Int }) })],
  "swap a tuple": [Base, Schema.Struct({ ...fields, pair: Schema.Tuple(Schema.Int, Schema.String) })],
  "a longer tuple": [
    Base,
    Schema.Struct({ ...fields, pair: Schema.Tuple(Schema.String, Schema.Int, Schema.Int) })
  ],
  "an open tuple": [
    Base,
    Schema.Struct({ ...fields, pair: Schema.Tuple([Schema.String, Schema.Int], Schema.Int) })
  ],
  "another union member": [
    Base,
    Schema.Struct({ ...fields, shape: Schema.Union(Circle, Square, Schema.Struct({ kind: Schema.Literal("dot") })) })
  ],
  "a field of a union member": [
    Base,
    Schema.Struct({
      ...fields,
      shape: Schema.Union(Circle, Schema.Struct({ kind: Schema.Literal("square"), width: Schema.Number }))
    })
  ],
  "the tag of a union": [
    Base,
    Schema.Struct({
      ...fields,
      shape: Schema.Union(
        Schema.Struct({ type: Schema.Literal("circle"), r: Schema.Number }),
        Schema.Struct({ type: Schema.Literal("square"), side: Schema.Number })
      )
    })
  ],
  "the order of union members that overlap": [
    Schema.Union(overlapping[0], overlapping[1]),
    Schema.Union(overlapping[1], overlapping[0])
  ],
  "a field of a class": [
    Base,
    Schema.Struct({ ...fields, point: Schema.Struct({ x: Schema.Number, z: Schema.Number }) })
  ],
  "the end of a recursion": [
    Base,
    Schema.Struct({
      ...fields,
      tree: Schema.Struct({ value: Schema.Int, children: Schema.Array(Schema.Struct({ value: Schema.Int })) })
    })
  ],
  "the target of a recursion": [
    Folder,
    Schema.Struct({
      name: Schema.String,
      files: Schema.Array(Schema.Struct({ size: Schema.Number, within: Schema.optional(File) }))
    })
  ],
  "a template": [Base, Schema.Struct({ ...fields, path: Schema.TemplateLiteral("./", Schema.String) })],
  "the shape of JSON in a text": [
    Base,
    Schema.Struct({
      ...fields,
      raw: Schema.parseJson(Schema.Struct({ a: Schema.Int, c: Schema.optional(Schema.Int) }))
    })
  ],
  "another key in what is stored": [
    Base,
    Schema.Struct({ ...withoutShort, short: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("t")) })
  ]
}

const Annotated = Schema.Struct({
  ...fields,
  id: Schema.String.annotations({ description: "an id", title: "Id", identifier: "TheId", examples: ["a"] })
}).annotations({ identifier: "Renamed", description: "all of it" })

class AsClass extends Schema.Class<AsClass>("AsClass")(fields) {}
class AsPoint extends Schema.Class<AsPoint>("SomewhereElse")({ y: Schema.Number, x: Schema.Number }) {}
interface Other {
  readonly value: number
  readonly children: ReadonlyArray<Other>
}
const SameTree = Schema.Struct({
  children: Schema.Array(Schema.suspend((): Schema.Schema<Other> => SameTree)),
  value: Schema.Int
})

/** What a team does that changes nothing of what is stored. */
const harmless: Record<string, readonly [before: Schema.Schema.AnyNoContext, after: Schema.Schema.AnyNoContext]> = {
  "reorder the fields": [Base, Schema.Struct(Object.fromEntries(Object.entries(fields).reverse()))],
  "annotate": [Base, Annotated],
  "brand": [Base, Schema.Struct({ ...fields, id: Schema.String.pipe(Schema.brand("Id")) })],
  "refine": [
    Base,
    Schema.Struct({
      ...fields,
      id: Schema.NonEmptyString.pipe(Schema.maxLength(10)),
      count: Schema.Int.pipe(Schema.positive())
    })
  ],
  "unrefine": [Base, Schema.Struct({ ...fields, count: Schema.Number })],
  "a class instead of a struct": [Base, AsClass],
  "a struct instead of a class": [
    Base,
    Schema.Struct({ ...fields, point: Schema.Struct({ x: Schema.Number, y: Schema.Number }) })
  ],
  "rename a class": [Base, Schema.Struct({ ...fields, point: AsPoint })],
  "rename a recursive schema": [Base, Schema.Struct({ ...fields, tree: SameTree })],
  "a date that must be valid": [Base, Schema.Struct({ ...fields, at: Schema.Date })],
  "reorder union members that are told apart": [
    Base,
    Schema.Struct({ ...fields, shape: Schema.Union(Square, Circle) })
  ],
  "reorder literals": [Base, Schema.Struct({ ...fields, status: Schema.Literal("closed", "open") })],
  "null first": [Schema.NullOr(Schema.Int), Schema.Union(Schema.Null, Schema.Int)],
  "a tagged struct": [
    Schema.TaggedStruct("T", { a: Schema.Int }),
    Schema.Struct({ a: Schema.Int, _tag: Schema.Literal("T") })
  ],
  "an optional field that is never undefined": [
    Schema.Struct({ a: Schema.optional(Schema.Int) }),
    Schema.Struct({ a: Schema.optionalWith(Schema.Int, { exact: true }) })
  ],
  "undefined instead of optional": [
    Schema.Struct({ a: Schema.optional(Schema.Int) }),
    Schema.Struct({ a: Schema.UndefinedOr(Schema.Int) })
  ],
  "mutable": [Schema.Array(Schema.Int), Schema.mutable(Schema.Array(Schema.Int))],
  "suspend what is not recursive": [
    Schema.Struct({ a: Schema.Int }),
    Schema.Struct({ a: Schema.suspend(() => Schema.Int) })
  ]
}

describe("fingerprint", () => {
  for (const [edit, [before, after]] of Object.entries(caught)) {
    it(`changes with: ${edit}`, () => {
      assert.notStrictEqual(canonical(before.ast), canonical(after.ast))
      assert.notStrictEqual(fingerprint(before), fingerprint(after))
    })
  }

  for (const [edit, [before, after]] of Object.entries(harmless)) {
    it(`does not change with: ${edit}`, () => {
      assert.strictEqual(canonical(after.ast), canonical(before.ast))
    })

    // and rightly so: what is stored by the old schema is read by the new one as the same, or it is refused
    it.prop(
      `stored states are read as before after: ${edit}`,
      [Arbitrary.make(before)],
      ([state]) => {
        const encoded = Schema.encodeUnknownEither(before)(state)
        const text = Either.flatMap(encoded, Json.stringify)
        fc.pre(Either.isRight(text))
        const stored: unknown = JSON.parse(Either.getOrThrow(text))
        const read = Schema.decodeUnknownEither(after)(stored)
        if (Either.isLeft(read)) {
          assert.include(["refine", "a date that must be valid"], edit)
        } else {
          const again = Either.getOrThrow(Json.stringify(Schema.encodeUnknownSync(after)(read.right)))
          assert.deepStrictEqual(JSON.parse(again), stored)
        }
      },
      { fastCheck: { numRuns: 50 } }
    )
  }

  it("ends for a recursive schema, in every way to derive it", () => {
    for (const schema of [Tree, Folder, File, Node, Schema.typeSchema(Tree), Schema.typeSchema(Folder)]) {
      assert.strictEqual(canonical(schema.ast), canonical(schema.ast))
    }
    assert.notStrictEqual(fingerprint(Folder), fingerprint(File))
  })

  it("Aggregate.make rejects a schema that unfolds infinitely", () => {
    const define = () =>
      Aggregate.make({
        name: "A",
        id: Schema.String,
        state: Schema.encodedSchema(Node),
        event: Schema.TaggedStruct("E", {}),
        command: Schema.String,
        initial: () => ({ label: "", next: null }),
        evolve: (state) => state,
        decide: () => Either.right([])
      })
    assert.throws(define, InvalidOption.InvalidOption)
  })

  // whoever changes one of these makes every snapshot of every user drift
  const golden: ReadonlyArray<readonly [name: string, schema: Schema.Schema.AnyNoContext, pinned: string]> = [
    ["Base", Base, "ba2c5eafa92dc1113474dfae52c7f18a"],
    ["Tree", Tree, "a75a0679f92f0085b9361c64a3163a3c"],
    ["Folder", Folder, "3554fe4b2b8be6337f7120fd820d7609"],
    ["Node", Node, "a565ce0ace8aeeb3747a564bf03b7a99"],
    ["overlapping", Schema.Union(...overlapping), "6b35ce6c34a0646922191107334c4b5a"],
    ["String", Schema.String, "8b9804d662c59d04d1b9db24a4a2c7a4"],
    ["empty", Schema.Struct({}), "c6ee5e07fd1701c5672f8d7a8588b7b4"],
    ["Unknown", Schema.Unknown, "750c8ab70c597eae4d351180ca818496"]
  ]
  for (const [name, schema, pinned] of golden) {
    it(`of ${name} is still the same`, () => {
      assert.strictEqual(fingerprint(schema), pinned)
    })
  }

  it("has a readable canonical form", () => {
    assert.strictEqual(
      canonical(Schema.Struct({ b: Schema.optional(Schema.NumberFromString), a: Schema.Literal("x", 1, null) }).ast),
      `["struct",[["a","",["union",["literal","null","null"],["literal","number","1"],["literal","string","x"]]],` +
        `["b","?","StringKeyword"]],[]]`
    )
  })
})

describe("a schema whose encoding is not JSON", () => {
  const Opened = Schema.TaggedStruct("Opened", {})
  const define = (state: Schema.Schema.AnyNoContext) => defineWith(state, Opened)
  const defineWith =
    <Event extends { readonly _tag: string }, I>(state: Schema.Schema.AnyNoContext, event: Schema.Schema<Event, I>) =>
    () =>
      Aggregate.make({
        name: "A",
        id: Schema.String,
        state,
        event,
        command: Schema.String,
        initial: () => null,
        evolve: (state) => state,
        decide: () => Either.right([])
      })
  const refused: ReadonlyArray<readonly [schema: Schema.Schema.AnyNoContext, path: string]> = [
    [Schema.BigIntFromSelf, "$"],
    [Schema.Struct({ a: Schema.Struct({ "b c": Schema.BigIntFromSelf }) }), "$.a[\"b c\"]"],
    [Schema.Struct({ a: Schema.Array(Schema.DateFromSelf) }), "$.a[0]"],
    [Schema.Record({ key: Schema.String, value: Schema.Struct({ at: Schema.DateTimeUtcFromSelf }) }), "$[\"*\"].at"],
    [Schema.OptionFromSelf(Schema.Int), "$"],
    [Schema.HashMapFromSelf({ key: Schema.String, value: Schema.Int }), "$"],
    [Schema.MapFromSelf({ key: Schema.String, value: Schema.Int }), "$"],
    [Schema.instanceOf(URL), "$"],
    [Schema.typeSchema(Point), "$"],
    [Schema.Undefined, "$"],
    [Schema.UndefinedOr(Schema.String), "$"],
    [Schema.Void, "$"],
    [Schema.Tuple(Schema.String, Schema.UndefinedOr(Schema.String)), "$[1]"],
    [Schema.Literal(1n), "$"],
    [Schema.SymbolFromSelf, "$"],
    [Schema.Struct({ [Symbol.for("s")]: Schema.String }), "$"],
    [Schema.Struct({ deep: Schema.suspend(() => Schema.BigIntFromSelf) }), "$.deep"]
  ]
  for (const [schema, path] of refused) {
    it(`is rejected with its path: ${String(schema.ast)}`, () => {
      try {
        define(schema)()
        assert.fail("accepted")
      } catch (error) {
        assert.instanceOf(error, InvalidOption.InvalidOption)
        assert.include(error.option, "state")
        assert.include(error.value, path)
      }
      const event = Schema.TaggedStruct("E", { field: Schema.Struct({ inner: Schema.BigIntFromSelf }) })
      try {
        defineWith(Schema.Int, event)()
        assert.fail("accepted")
      } catch (error) {
        assert.instanceOf(error, InvalidOption.InvalidOption)
        assert.include(error.option, "event")
        assert.include(error.value, "$.field.inner")
      }
    })
  }

  for (const [edit, [before, after]] of Object.entries({ ...caught, ...harmless })) {
    it(`does not include: ${edit}`, () => {
      assert.doesNotThrow(define(before))
      assert.doesNotThrow(define(after))
    })
  }

  it("is not detected if only some values show it: the encoding rejects those", () => {
    for (
      const schema of [
        Schema.Unknown,
        Schema.Any,
        Schema.Object,
        Schema.declare((value): value is string => typeof value === "string"),
        Schema.Struct({ a: Schema.UndefinedOr(Schema.String), b: Schema.optional(Schema.Undefined) }),
        Folder,
        Node
      ]
    ) {
      assert.doesNotThrow(define(schema))
    }
  })
})

describe("the hash", () => {
  it.prop("is the same on Node.js and in a browser", [
    fc.string({ unit: fc.nat(0xffff).map((n) => String.fromCharCode(n)) })
  ], ([text]) => {
    assert.strictEqual(sha256(text), bytesToHex(hash(utf8ToBytes(text))))
  })
})
