import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { StreamId } from "effect-eventsourcing"
import * as CommandIds from "../src/internal/repository/commandIds.js"
import * as DerivedId from "../src/internal/schema/derivedId.js"

interface Parts {
  readonly aggregate: string
  readonly id: string
  readonly commandId: string
  readonly index: number
}

const idOf = ({ aggregate, commandId, id, index }: Parts): string =>
  CommandIds.eventIds(StreamId.make(aggregate, id), commandId)(index)

const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`))

const uuidOf = (time: number, [a, b, c]: readonly [string, string, string]) => {
  const digits = time.toString(16).padStart(12, "0")
  return `${digits.slice(0, 8)}-${digits.slice(8)}-7${a}-8${b}-${c}`
}

const millis = fc.integer({ min: 0, max: 2 ** 48 - 1 })
const uuid = fc.tuple(millis, fc.tuple(hex(3), hex(3), hex(12))).map(([time, parts]) => uuidOf(time, parts))

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
const ulidOf = (time: number, random: string) =>
  Array.from({ length: 10 }, (_, n) => crockford[Math.floor(time / 32 ** (9 - n)) % 32]).join("") + random
const ulid = fc.tuple(millis, fc.stringMatching(/^[0-9A-HJKMNP-TV-Z]{16}$/)).map(([time, text]) => ulidOf(time, text))

const anyCase = (id: fc.Arbitrary<string>) =>
  fc.tuple(id, fc.boolean()).map(([id, lower]) => lower ? id.toLowerCase() : id.toUpperCase())

// few letters and digits, and those that a naive encoding would take for its own
const text = fc.oneof(
  fc.stringMatching(/^[a1,:"\\]{1,4}$/),
  fc.constantFrom("__proto__", "constructor", "é", "👍", "a-1"),
  anyCase(uuid),
  anyCase(ulid)
)
const parts: fc.Arbitrary<Parts> = fc.record({
  aggregate: text,
  id: text,
  commandId: text,
  index: fc.integer({ min: 0, max: 200 })
})

const timeOf = (id: string): number => parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

describe("the id of a command's event", () => {
  it("is the same for the same stream, command id and index, and another one if any of them differs", () => {
    fc.assert(fc.property(parts, parts, (one, other) => {
      const equal = one.aggregate === other.aggregate && one.id === other.id && one.commandId === other.commandId &&
        one.index === other.index
      assert.strictEqual(idOf(one), idOf({ ...one }))
      assert.strictEqual(idOf(one) === idOf(other), equal)
      const changed: ReadonlyArray<Parts> = [
        { ...one, aggregate: `${one.aggregate}x` },
        { ...one, id: `${one.id}x` },
        { ...one, commandId: `${one.commandId}x` },
        { ...one, index: one.index + 1 }
      ]
      for (const each of changed) assert.notStrictEqual(idOf(each), idOf(one))
    }))
  })

  it("differs if text moves from one part to the next", () => {
    const letters = fc.stringMatching(/^[a1:,]{5,12}$/)
    const cut = (text: string, first: number, second: number, third: number): Parts => ({
      aggregate: text.slice(0, first),
      id: text.slice(first, second),
      commandId: text.slice(second, third),
      index: third
    })
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { minLength: 3, maxLength: 3 })
      .map((cuts) => [...cuts].sort())
    fc.assert(fc.property(letters, cuts, cuts, (text, [a, b, c], [d, e, f]) => {
      const same = a === d && b === e && c === f
      assert.strictEqual(idOf(cut(text, a, b, c)) === idOf(cut(text, d, e, f)), same)
    }))
    assert.notStrictEqual(
      idOf({ aggregate: "a", id: "b", commandId: "c1", index: 0 }),
      idOf({ aggregate: "a", id: "b", commandId: "c", index: 10 })
    )
  })

  it("is a UUID of version 8, which no generated id is", () => {
    fc.assert(fc.property(parts, (parts) => {
      assert.match(idOf(parts), /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      assert.isTrue(DerivedId.isDerived(idOf(parts)))
    }))
    fc.assert(
      fc.property(fc.oneof(uuid, ulid, fc.uuid({ version: 4 })), (id) => assert.isFalse(DerivedId.isDerived(id)))
    )
  })

  it("keeps the time of a version 7 UUID or a ULID in front, and with it the order", () => {
    const timed = fc.tuple(millis, fc.boolean(), hex(12)).map(([time, isUuid, random]) =>
      [time, isUuid ? uuidOf(time, ["abc", "def", random]) : ulidOf(time, `0000${random.toUpperCase()}`)] as const
    )
    fc.assert(fc.property(parts, timed, timed, (parts, [one, first], [other, second]) => {
      const [a, b] = [idOf({ ...parts, commandId: first }), idOf({ ...parts, commandId: second })]
      assert.strictEqual(timeOf(a), one)
      if (one < other) assert.isTrue(a < b)
      if (one > other) assert.isTrue(a > b)
    }))
  })

  it("takes no time from an id that only looks like a version 7 UUID or a ULID", () => {
    const others = [
      "018f4e5a-1c2d-4abc-8def-0123456789ab",
      "018f4e5a-1c2d-7abc-cdef-0123456789ab",
      "018f4e5a-1c2d-7abc-8def-0123456789abc",
      "018f4e5a1c2d7abc8def0123456789ab",
      "81HW000000ABCDEFGHJKMNPQRS",
      "01HW000000ABCDEFGHIJKLMNOP"
    ]
    for (const commandId of others) {
      const [one, other] = ["a", "b"].map((id) => idOf({ aggregate: "Account", id, commandId, index: 0 }).slice(0, 13))
      assert.notStrictEqual(one, other, commandId)
    }
  })

  it("never changes: two releases that run at the same time must derive the same", () => {
    const sample = (commandId: string, index: number) => idOf({ aggregate: "Account", id: "ä-1", commandId, index })
    assert.deepStrictEqual(
      [
        sample("order-7", 0),
        sample("order-7", 12),
        sample("018F4E5A-1C2D-7ABC-8DEF-0123456789AB", 0),
        sample("01HX74M7105E7ZBKQY8FZ0QJ0Q", 0)
      ],
      [
        "40498cfb-d957-8311-835e-02199b42da22",
        "4bb7651d-dbe6-839c-915e-0f5dc7ae606e",
        "018f4e5a-1c2d-83d4-878f-cac64157a950",
        "018f4e4a-1c20-8b1a-a297-63460733d584"
      ]
    )
  })

  it("a command id is a text of 1 to 1,024 bytes that every store can keep", () => {
    for (const fine of ["a", "__proto__", " ", "é".repeat(512), "x".repeat(1_024), "👍"]) {
      assert.isUndefined(CommandIds.problem(fine), fine)
    }
    for (const wrong of ["", "x".repeat(1_025), "é".repeat(513), "x".repeat(5_000_000), "a\u0000", "\ud800", 7, null]) {
      assert.isString(CommandIds.problem(wrong))
    }
  })
})
