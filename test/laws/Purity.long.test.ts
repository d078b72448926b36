import { assert, describe, it } from "@effect/vitest"
import * as effect from "effect"
import { Either, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"
import { AggregateLaws } from "effect-eventsourcing/testing"
import nodeCrypto, { randomUUID } from "node:crypto"
import { hrtime } from "node:process"
import * as Planted from "../fixtures/planted.js"
import { brokenBy } from "../utils/laws.js"

const formatter = new Intl.DateTimeFormat("en")

const dated = (make: (date: Date) => unknown) =>
  Aggregate.make({
    name: "Dated",
    id: Schema.NonEmptyString,
    state: Schema.Array(Schema.Unknown),
    event: Schema.TaggedStruct("Dated", { at: Schema.Date }),
    command: Schema.TaggedStruct("Date", { at: Schema.Date.pipe(Schema.validDate()) }),
    initial: () => [],
    evolve: (_state, event) => [make(event.at)],
    decide: (_state, command) => Either.right([{ _tag: "Dated", at: command.at }])
  })

describe("the clock and the random numbers", () => {
  it("are restored after every kind of failure", () => {
    const owners: ReadonlyArray<readonly [object, PropertyKey]> = [
      [globalThis, "Date"],
      [Date, "now"],
      [Date.prototype, "constructor"],
      [Math, "random"],
      [performance, "now"],
      [crypto, "randomUUID"],
      [crypto, "getRandomValues"],
      [process, "hrtime"],
      [process.hrtime, "bigint"],
      [process, "uptime"],
      [process, "memoryUsage"],
      [nodeCrypto, "randomUUID"],
      [nodeCrypto, "randomBytes"],
      [Intl.DateTimeFormat.prototype, "format"],
      [process.env, "TZ"]
    ]
    const before = owners.map(([owner, key]) => Object.getOwnPropertyDescriptor(owner, key))
    const now = Date.now()
    const offset = new Date(0).getTimezoneOffset()
    for (const { laws } of Object.values(Planted.planted)) brokenBy(laws({ seed: 1, runs: 2 }))
    assert.deepStrictEqual(owners.map(([owner, key]) => Object.getOwnPropertyDescriptor(owner, key)), before)
    assert.isAtLeast(Date.now(), now)
    assert.strictEqual(new Date(0).constructor, Date)
    assert.strictEqual(new Date(0).getTimezoneOffset(), offset)
    assert.match(randomUUID(), /^[0-9a-f-]{36}$/)
  })

  it("every way to read them is found, and a Date of a given time is allowed", () => {
    const readings: ReadonlyArray<readonly [string, () => unknown]> = [
      ["new Date()", () => new Date().getTime()],
      ["Date()", () => Date()],
      ["Date.now()", () => Date.now()],
      ["performance.now()", () => performance.now()],
      ["process.hrtime()", () => process.hrtime()],
      ["process.hrtime.bigint()", () => process.hrtime.bigint()],
      ["process.hrtime()", () => hrtime()],
      ["process.hrtime.bigint()", () => hrtime.bigint()],
      ["process.uptime()", () => process.uptime()],
      ["process.memoryUsage()", () => process.memoryUsage()],
      ["process.memoryUsage.rss()", () => process.memoryUsage.rss()],
      ["process.cpuUsage()", () => process.cpuUsage()],
      ["Intl.DateTimeFormat.format()", () => new Intl.DateTimeFormat().format()],
      ["Intl.DateTimeFormat.format()", () => formatter.format(undefined)],
      ["Intl.DateTimeFormat.formatToParts()", () => formatter.formatToParts()],
      ["Math.random()", () => Math.random()],
      ["crypto.randomUUID()", () => crypto.randomUUID()],
      ["crypto.randomUUID()", () => randomUUID()],
      ["crypto.randomUUID()", () => nodeCrypto.randomUUID()],
      ["crypto.randomBytes()", () => nodeCrypto.randomBytes(4)],
      ["crypto.randomInt()", () => nodeCrypto.randomInt(4)],
      ["crypto.randomFillSync()", () => nodeCrypto.randomFillSync(new Uint8Array(4))],
      ["crypto.getRandomValues()", () => crypto.getRandomValues(new Uint8Array(4))],
      ["Date.now", () => effect.DateTime.unsafeNow()],
      ["Date", () => effect.Effect.runSync(effect.Clock.currentTimeMillis)]
    ]
    const reading = (read: () => unknown) =>
      Aggregate.make({
        name: "Reading",
        id: Schema.NonEmptyString,
        state: Schema.Struct({ n: Schema.Int }),
        event: Schema.TaggedStruct("Counted", {}),
        command: Schema.TaggedStruct("Count", {}),
        initial: () => ({ n: 0 }),
        evolve: (state) => {
          read()
          return { n: state.n + 1 }
        },
        decide: (_state, _command) => Either.right([{ _tag: "Counted" }])
      })
    for (const [source, read] of readings) {
      const stories = [...brokenBy(AggregateLaws.laws(reading(read), { seed: 1, runs: 5 })).values()]
      assert.strictEqual(stories.length, 1, source)
      assert.include(stories[0].message, source)
    }
    const harmless = reading(() => [
      new Date(5),
      new Date("2020-01-01"),
      Date.UTC(2020, 1),
      new Date(2020, 1, 1),
      new Date(0).getHours(),
      formatter.format(0),
      formatter.formatToParts(new Date(5))
    ])
    assert.strictEqual(brokenBy(AggregateLaws.laws(harmless, { seed: 1, runs: 5 })).size, 0)
  })

  it("a result that depends on the time zone of the machine is found", () => {
    const locals: ReadonlyArray<(date: Date) => unknown> = [
      (date) => date.getHours(),
      (date) => date.getTimezoneOffset(),
      (date) => date.getDate(),
      (date) => date.toString(),
      (date) => date.toLocaleString("en"),
      (date) => new Date(2020, 1, date.getUTCDate()).getTime(),
      (date) => Date.parse(date.toISOString().slice(0, -1)),
      (date) => new Intl.DateTimeFormat("en", { timeStyle: "full" }).format(date),
      () => Intl.DateTimeFormat().resolvedOptions().timeZone
    ]
    for (const local of locals) {
      const aggregate = dated((date) => String(local(date)))
      const [[law, { message }]] = brokenBy(AggregateLaws.laws(aggregate, { seed: 1, runs: 20, size: 3 }))
      assert.include(law, "pure")
      assert.include(message, "gives another result in another time zone", String(local))
    }
    const there = dated((date) => new Intl.DateTimeFormat("en", { timeZone: "Asia/Tokyo" }).format(date))
    assert.strictEqual(brokenBy(AggregateLaws.laws(there, { seed: 1, runs: 20, size: 3 })).size, 0)
    // depends on the zone twice, which cancels out
    const noon = dated((date) => new Date(date.getFullYear(), date.getMonth(), 1, 12).getMonth() === date.getMonth())
    assert.strictEqual(brokenBy(AggregateLaws.laws(noon, { seed: 1, runs: 25 })).size, 0)
  })

  it("state that is kept between calls is found: a counter, a map, a list, the last value", () => {
    let counter = 0
    const seen = new Map<number, number>()
    const list: Array<number> = []
    let last = new Date(0)
    const keeping: ReadonlyArray<(date: Date) => unknown> = [
      () => counter++,
      (date) => {
        const times = (seen.get(date.getTime()) ?? 0) + 1
        seen.set(date.getTime(), times)
        return times
      },
      (date) => list.push(date.getTime()),
      (date) => {
        const before = last
        last = date
        return before.getTime()
      }
    ]
    for (const keep of keeping) {
      const laws = AggregateLaws.laws(dated((date) => String(keep(date))), { seed: 1, runs: 25 })
      const found = brokenBy(laws)
      const message = [...found].find(([law]) => law.includes("pure"))?.[1].message ?? ""
      assert.include(message, "called twice with the same input, gives two different results.", String(keep))
    }
    // a cache of a pure function is pure
    const cache = new Map<number, string>()
    const cached = dated((date) => {
      const text = cache.get(date.getTime()) ?? date.toISOString()
      cache.set(date.getTime(), text)
      return text
    })
    assert.strictEqual(brokenBy(AggregateLaws.laws(cached, { seed: 1, runs: 25 })).size, 0)
  })
})
