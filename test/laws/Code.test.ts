import { assert, describe, it } from "@effect/vitest"
import {
  BigDecimal,
  Chunk,
  Data,
  DateTime,
  Duration,
  Either,
  HashMap,
  HashSet,
  List,
  Option,
  Order,
  Redacted,
  Schema,
  SortedMap,
  SortedSet
} from "effect"
import { Aggregate } from "effect-eventsourcing"
import { AggregateLaws } from "effect-eventsourcing/testing"
import * as fs from "node:fs"
import * as path from "node:path"
import { toCode } from "../../src/internal/laws/code.js"
import { differences } from "../../src/internal/laws/difference.js"
import { everything } from "../utils/mode.js"
import { root } from "../utils/npm.js"
import { complaints } from "../utils/tsc.js"

// the code must be valid TypeScript and evaluate to the value

class Line extends Schema.Class<Line>("Line")({ sku: Schema.String, price: Schema.BigDecimal }) {}
class Added extends Schema.TaggedClass<Added>()("Added", { line: Line }) {}
class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}
class Point extends Data.Class<{ readonly x: number }> {}
class Tagged extends Data.TaggedClass("Tagged")<{ readonly x: number }> {}
class Empty extends Data.TaggedError("Empty") {}
class WithMessage extends Data.TaggedError("WithMessage")<{ readonly n: number; readonly message: string }> {}

const modules = {
  BigDecimal,
  Chunk,
  Data,
  DateTime,
  Duration,
  Either,
  HashMap,
  HashSet,
  List,
  Option,
  Redacted,
  Schema
}
const classes = { Line, Added, Refused, Point, Tagged, Empty, WithMessage }

// in place of the definitions of a user
const declarations = `
class Line extends Schema.Class<Line>("Line")({ sku: Schema.String, price: Schema.BigDecimal }) {}
class Added extends Schema.TaggedClass<Added>()("Added", { line: Line }) {}
class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}
class Point extends Data.Class<{ readonly x: number }> {}
class Tagged extends Data.TaggedClass("Tagged")<{ readonly x: number }> {}
class Empty extends Data.TaggedError("Empty") {}
class WithMessage extends Data.TaggedError("WithMessage")<{ readonly n: number; readonly message: string }> {}
`

const utc = Date.UTC(2024, 1, 29, 12, 30, 15, 7)

const table: ReadonlyArray<readonly [value: unknown, type: string, code: string]> = [
  [undefined, "undefined", "undefined"],
  [-0, "number", "-0"],
  [NaN, "number", "NaN"],
  [-Infinity, "number", "-Infinity"],
  [2 ** 53, "number", "9007199254740992"],
  [-5n, "bigint", "-5n"],
  ["\ud800\u0000\u2028", "string", "\"\\ud800\\u0000\u2028\""],
  [Symbol.for("a b"), "symbol", "Symbol.for(\"a b\")"],
  [Symbol.iterator, "symbol", "Symbol.iterator"],
  [{ [Symbol.for("k")]: 1 }, "object", "{ [Symbol.for(\"k\")]: 1 }"],
  [JSON.parse("{\"__proto__\":1,\"a-b\":[null]}"), "object", "{ [\"__proto__\"]: 1, \"a-b\": [null] }"],
  [{ a: undefined }, "{ readonly a?: string | undefined }", "{ a: undefined }"],
  [new Date(utc), "Date", "new Date(\"2024-02-29T12:30:15.007Z\")"],
  [new Date(NaN), "Date", "new Date(NaN)"],
  [new Date(-1e14), "Date", "new Date(\"-001199-02-15T14:13:20.000Z\")"],
  [Duration.millis(1_500), "Duration.Duration", "Duration.millis(1500)"],
  [Duration.millis(1e21), "Duration.Duration", "Duration.millis(1e+21)"],
  [Duration.millis(0.1), "Duration.Duration", "Duration.nanos(100000n)"],
  [Duration.nanos(12345678901234567890n), "Duration.Duration", "Duration.nanos(12345678901234567890n)"],
  [Duration.infinity, "Duration.Duration", "Duration.infinity"],
  [BigDecimal.make(-12345n, 3), "BigDecimal.BigDecimal", "BigDecimal.unsafeFromString(\"-12.345\")"],
  [BigDecimal.make(5n, -100), "BigDecimal.BigDecimal", "BigDecimal.unsafeFromString(\"5e+100\")"],
  [BigDecimal.make(0n, 3), "BigDecimal.BigDecimal", "BigDecimal.unsafeFromString(\"0\")"],
  [Option.some(Option.none()), "Option.Option<Option.Option<string>>", "Option.some(Option.none())"],
  [Either.left("a"), "Either.Either<number, string>", "Either.left(\"a\")"],
  [Either.right({ a: 1 }), "Either.Either<{ a: number }, string>", "Either.right({ a: 1 })"],
  [Chunk.make(1, 2), "Chunk.Chunk<number>", "Chunk.fromIterable([1, 2])"],
  [Chunk.empty(), "Chunk.Chunk<number>", "Chunk.fromIterable([])"],
  [List.make(1), "List.List<number>", "List.fromIterable([1])"],
  [HashMap.make(["a", null]), "HashMap.HashMap<string, number | null>", "HashMap.fromIterable([[\"a\", null]])"],
  [HashMap.empty(), "HashMap.HashMap<string, number>", "HashMap.fromIterable([])"],
  [HashSet.make("a"), "HashSet.HashSet<string>", "HashSet.fromIterable([\"a\"])"],
  [new Map([["a", 1], ["b", 2]]), "ReadonlyMap<string, number>", "new Map([[\"a\", 1], [\"b\", 2]])"],
  [new Map(), "ReadonlyMap<string, number>", "new Map([])"],
  [new Set([undefined, 1]), "ReadonlySet<number | undefined>", "new Set([undefined, 1])"],
  [Data.struct({ x: 1 }), "{ readonly x: number }", "Data.struct({ x: 1 })"],
  [Data.array([1, 2]), "ReadonlyArray<number>", "Data.array([1, 2])"],
  [new Point({ x: 1 }), "Point", "new Point({ x: 1 })"],
  [new Tagged({ x: 1 }), "Tagged", "new Tagged({ x: 1 })"],
  [new Empty(), "Empty", "new Empty()"],
  [new WithMessage({ n: 1, message: "m" }), "WithMessage", "new WithMessage({ n: 1, message: \"m\" })"],
  [new Refused({ why: "no" }), "Refused", "new Refused({ why: \"no\" })"],
  [
    new Added({ line: new Line({ sku: "a", price: BigDecimal.make(15n, 1) }) }),
    "Added",
    "new Added({ line: new Line({ sku: \"a\", price: BigDecimal.unsafeFromString(\"1.5\") }) })"
  ],
  [Redacted.make("s"), "Redacted.Redacted", "Redacted.make(\"s\")"],
  [new URL("https://a.b/c?d"), "URL", "new URL(\"https://a.b/c?d\")"],
  [new Uint8Array([1, 2]), "Uint8Array", "Uint8Array.from([1, 2])"],
  [DateTime.unsafeMake(utc), "DateTime.Utc", "DateTime.unsafeMake(\"2024-02-29T12:30:15.007Z\")"],
  [
    DateTime.unsafeMakeZoned(utc, { timeZone: "Europe/London" }),
    "DateTime.Zoned",
    "DateTime.unsafeMakeZoned(\"2024-02-29T12:30:15.007Z\", { timeZone: \"Europe/London\" })"
  ],
  [
    DateTime.unsafeMakeZoned(utc, { timeZone: -3_600_000 }),
    "DateTime.Zoned",
    "DateTime.unsafeMakeZoned(\"2024-02-29T12:30:15.007Z\", { timeZone: -3600000 })"
  ],
  [
    DateTime.zoneUnsafeMakeNamed("Europe/London"),
    "DateTime.TimeZone",
    "DateTime.zoneUnsafeMakeNamed(\"Europe/London\")"
  ],
  [DateTime.zoneMakeOffset(60_000), "DateTime.TimeZone", "DateTime.zoneMakeOffset(60000)"]
]

const run = (code: string): unknown => {
  const scope: Record<string, unknown> = { ...modules, ...classes }
  return new Function(...Object.keys(scope), `return (${code})`)(...Object.values(scope))
}

describe("values as code", () => {
  for (const [value, type, code] of table) {
    it(`${type}: ${code}`, () => {
      assert.strictEqual(toCode(value), code)
      assert.deepStrictEqual(differences(value, run(code)), [])
    })
  }

  it("leaves the order of a sorted collection to the reader", () => {
    assert.strictEqual(
      toCode(SortedSet.fromIterable([2, 1], Order.number)),
      "SortedSet.fromIterable([1, 2], /* its order */)"
    )
    assert.strictEqual(
      toCode(SortedMap.make(Order.string)(["b", 1], ["a", 2])),
      "SortedMap.fromIterable([[\"a\", 2], [\"b\", 1]], /* its order */)"
    )
  })

  it.runIf(everything)("compiles with the type of the value", async () => {
    const lines = [
      `import { ${Object.keys(modules).join(", ")} } from "effect"`,
      declarations,
      ...table.map(([value, type], index) => `export const value${index}: ${type} = ${toCode(value)}`),
      `export const wrong: Date = ${toCode(Duration.zero)}`
    ]
    const folder = path.join(root, "test", ".generated-code")
    const printed = await complaints(folder, { "pasted.ts": lines.join("\n") })
    fs.rmSync(folder, { recursive: true, force: true })
    const [wrong, ...others] = printed.split(/^(?=\S)/m).filter((error) => error !== "")
    assert.include(wrong, "Type 'Duration' is missing")
    assert.deepStrictEqual(others, [])
  })
})

describe("times in zones", () => {
  const At = { at: Schema.DateTimeZoned, zone: Schema.TimeZone, offset: Schema.NullOr(Schema.TimeZoneOffset) }
  const Meeting = Aggregate.make({
    name: "Meeting",
    id: Schema.NonEmptyString,
    state: Schema.NullOr(Schema.Struct(At)),
    event: Schema.TaggedStruct("Moved", At),
    command: Schema.TaggedStruct("Move", At),
    initial: () => null,
    evolve: (_state, { at, offset, zone }) => ({ at, offset, zone }),
    decide: (_state, command) => Either.right([{ ...command, _tag: "Moved" as const }])
  })

  it.runIf(everything)("are generated in whole minutes, as their encoding holds them", () => {
    for (const { check } of AggregateLaws.laws(Meeting, { seed: 1, runs: 100 })) check()
    for (const { check } of AggregateLaws.laws(Meeting, { seed: 2, runs: 100, histories: "events" })) check()
  })

  it("are printed as code", () => {
    const laws = AggregateLaws.laws(Meeting, { seed: 3, runs: 50, invariant: (state) => state === null })
    assert.throws(
      () => laws.forEach(({ check }) => check()),
      /commands: \[\{ _tag: "Move", at: DateTime\.unsafeMakeZoned\("[^"]+", \{ timeZone: [^ ]+ \}\), zone: DateTime\.zone/
    )
  })
})
