import { assert, describe, it } from "@effect/vitest"
import * as effect from "effect"
import { Either, FastCheck as fc, Schema } from "effect"
import { Aggregate, InvalidOption } from "effect-eventsourcing"
import { AggregateLaws } from "effect-eventsourcing/testing"
import { setImmediate } from "node:timers/promises"
import { toCode } from "../../src/internal/laws/code.js"
import { differences, same } from "../../src/internal/laws/difference.js"
import * as Mutation from "../../src/internal/laws/mutation.js"
import * as Account from "../fixtures/Account.js"
import * as Planted from "../fixtures/planted.js"
import { sound } from "../fixtures/sound.js"
import { brokenBy } from "../utils/laws.js"
import { everything } from "../utils/mode.js"

// the line of the report that can be pasted
const lastLine = (message: string): string => message.split("\n").at(-1)?.trim() ?? ""

const evaluate = (line: string): void => {
  const scope: Record<string, unknown> = { ...effect, AggregateLaws }
  for (const { aggregate } of Object.values(Planted.planted)) scope[aggregate.name] = aggregate
  new Function(...Object.keys(scope), line)(...Object.values(scope))
}

/** A short run has a few of many cases. */
const few = <A>(cases: ReadonlyArray<A>): ReadonlyArray<A> => cases.filter((_, n) => everything || n % 4 === 0)

describe("planted bugs", () => {
  for (const [name, { law, laws, says, steps }] of few(Object.entries(Planted.planted))) {
    it(`${name}: is found within 25 runs, shrunk and reported`, async () => {
      for (const seed of everything ? [1, 2] : [1]) {
        await setImmediate()
        // each law that is broken would be shrunk for itself
        const [error] = brokenBy(laws({ seed, runs: 25 }).filter(({ name }) => name.includes(law))).values()
        assert.isDefined(error, `${law} found nothing`)
        const { message } = error!
        for (const text of says) assert.include(message, text)
        assert.match(message, new RegExp(`run \\d+ of seed ${seed}\\b`))
        const lived = message.split("\n").filter((line) => /^ {2}(command|event \d+) /.test(line))
        assert.isAtMost(lived.length, steps, message)
      }
    })
  }

  it("the printed line finds the bug again", () => {
    for (const { laws } of few(Object.values(Planted.planted))) {
      for (const error of brokenBy(laws({ seed: 5, runs: 25 })).values()) {
        const line = lastLine(error.message)
        if (error.message.includes("forgets the field")) continue
        assert.match(line, /^AggregateLaws\.check\(/)
        assert.throws(() => evaluate(line), AggregateLaws.LawBroken)
      }
    }
  })

  it("the same seed gives the same report", () => {
    const stories = () =>
      [...brokenBy(AggregateLaws.laws(Planted.OrderDependent, { seed: 11, runs: 25 })).values()].map(({ message }) =>
        message
      )
    assert.isNotEmpty(stories())
    assert.deepStrictEqual(stories(), stories())
  })

  it("finds a mutation of a value that cannot be frozen: a date, a set, bytes", () => {
    const Mutating = (change: (state: { at: Date; seen: Set<string>; bytes: Uint8Array }) => void) =>
      Aggregate.make({
        name: "Mutating",
        id: Schema.NonEmptyString,
        state: Schema.Struct({
          at: Schema.Date,
          seen: Schema.Set(Schema.String),
          bytes: Schema.Uint8ArrayFromBase64
        }),
        event: Schema.TaggedStruct("Happened", {}),
        command: Schema.TaggedStruct("Do", {}),
        initial: () => ({ at: new Date(0), seen: new Set<string>(), bytes: new Uint8Array(2) }),
        evolve: (state) => {
          const next = { ...state, seen: new Set(state.seen) }
          change({ at: state.at, seen: state.seen instanceof Set ? state.seen : new Set(), bytes: state.bytes })
          return next
        },
        decide: (_state, _command) => Either.right([{ _tag: "Happened" }])
      })
    const changes = {
      at: (state: { at: Date }) => state.at.setFullYear(1999),
      seen: (state: { seen: Set<string> }) => state.seen.add("x"),
      bytes: (state: { bytes: Uint8Array }) => state.bytes[0]++
    }
    for (const [field, change] of Object.entries(changes)) {
      const stories = [...brokenBy(AggregateLaws.laws(Mutating(change), { seed: 1, runs: 20 })).values()]
      assert.isTrue(stories.some(({ message }) => message.includes(`$.state.${field}`)), field)
    }
  })

  it("a report of large states fits on one page", () => {
    const kept: Array<string> = []
    const Keeping = Aggregate.make({
      name: "Keeping",
      id: Schema.NonEmptyString,
      state: Schema.Struct({
        theOnesThatWereEverSeenByIt: Schema.Record({ key: Schema.Literal("all"), value: Schema.Array(Schema.String) })
      }),
      event: Schema.TaggedStruct("Seen", { text: Schema.String }),
      command: Schema.TaggedStruct("See", { text: Schema.String }),
      initial: () => ({
        theOnesThatWereEverSeenByIt: { all: Array.from({ length: 5_000 }, (_, n) => `the one ${n}`) }
      }),
      evolve: (state, event) => {
        kept.push(event.text)
        return { theOnesThatWereEverSeenByIt: { all: [...state.theOnesThatWereEverSeenByIt.all, ...kept] } }
      },
      decide: (_state, command) => Either.right([{ _tag: "Seen", text: command.text }])
    })
    const broken = brokenBy(AggregateLaws.laws(Keeping, { seed: 1, runs: 3, size: 2 }))
    const stories = [...broken.values()].map(({ message }) => message)
    assert.isAtLeast(stories.length, 2)
    for (const story of stories) {
      assert.isAtMost(story.split("\n").length, 160)
      assert.match(story, /\.\.\. \(\d+ more lines\)/)
      // there is a gap after a long path
      assert.match(story, /differs at \$\.theOnesThatWereEverSeenByIt\.all\[\d+\] {2}\w/)
    }
    // a broken purity may be the cause of the other
    const [, snapshots] = stories
    assert.include(snapshots, "a snapshot at any version")
    assert.include(snapshots, "Fix that first")
  })

  it("checks an invariant of the user", () => {
    const laws = AggregateLaws.laws(Account.Account, {
      invariant: ({ balance }) => balance < 10,
      seed: 1,
      runs: 25
    })
    const [[name, error]] = brokenBy(laws)
    assert.include(name, "invariant")
    assert.include(error.message, "The invariant does not hold in this state.")
    assert.match(lastLine(error.message), /, \{ invariant \}\)$/)
    const throwing = AggregateLaws.laws(Account.Account, {
      runs: 5,
      invariant: () => {
        throw new Error("no")
      }
    })
    assert.include([...brokenBy(throwing).values()][0].message, "Error: no")
  })

  it("events in any order are stricter than decided events", () => {
    const { RefusedByItsState } = Planted
    const Strict = Aggregate.make({
      name: "Strict",
      id: Schema.NonEmptyString,
      state: Schema.Struct({ seats: Schema.NonNegativeInt }),
      event: RefusedByItsState.event.schema,
      command: RefusedByItsState.command,
      initial: () => ({ seats: 0 }),
      evolve: RefusedByItsState.evolve,
      decide: (state, command) =>
        command._tag === "Book" && command.seats > state.seats
          ? Either.left("sold out" as const)
          : command._tag === "Book"
          ? Either.right([{ _tag: "Booked", seats: command.seats }])
          : Either.right([{ _tag: "Scheduled", seats: command.seats }])
    })
    assert.strictEqual(brokenBy(AggregateLaws.laws(Strict, { seed: 1, runs: 50 })).size, 0)
    const [error] = brokenBy(AggregateLaws.laws(Strict, { seed: 1, runs: 50, histories: "events" })).values()
    assert.include(error.message, "Expected a non-negative number")
    assert.match(lastLine(error.message), /events: \[.*\], \}?.*histories: "events" \}\)$|histories: "events" \}\)$/)
    assert.throws(
      () => AggregateLaws.check(Strict, { id: "a", events: [{ _tag: "Booked", seats: 1 }] }, { histories: "events" }),
      AggregateLaws.LawBroken
    )
    AggregateLaws.check(Strict, { id: "a", events: [{ _tag: "Booked", seats: 1 }] })
  })
})

const slow = ["effect's data and equality", "data types of effect", "a state that contains itself"]

describe("sound aggregates", () => {
  for (const [name, laws] of Object.entries(sound)) {
    it.runIf(everything || !slow.includes(name))(`${name}: no false alarm`, async () => {
      for (const seed of [1, 2]) {
        await setImmediate()
        const broken = brokenBy(laws({ seed, runs: 20 }))
        assert.deepStrictEqual([...broken.values()].map(({ message }) => message), [])
      }
    })
  }
})

describe("options", () => {
  const { Account: aggregate } = Account

  it("names an option that is not valid", () => {
    for (
      const [options, name] of [
        [{ runs: 0 }, "runs"],
        [{ runs: 1.5 }, "runs"],
        [{ size: 0 }, "size"],
        [{ size: NaN }, "size"],
        [{ seed: 0.5 }, "seed"]
      ] as const
    ) {
      try {
        AggregateLaws.laws(aggregate, options)
        assert.fail(`accepted ${JSON.stringify(options)}`)
      } catch (error) {
        assert.instanceOf(error, InvalidOption.InvalidOption)
        assert.include(error.option, name)
      }
    }
  })

  it("names a history that the schemas reject", () => {
    for (
      const history of [
        { id: "" },
        { id: "a", commands: [{ _tag: "Deposit" as const, amount: 0.5 }] },
        { id: "a", events: [{ _tag: "Deposited" as const, amount: NaN }] }
      ]
    ) {
      assert.throws(() => AggregateLaws.check(aggregate, history), InvalidOption.InvalidOption)
    }
  })

  it("keeps to runs and size, and uses the given generators", () => {
    let histories = 0
    const longest: Array<number> = []
    let balances = 0
    const Watched = Aggregate.make({
      name: "Watched",
      id: Schema.NonEmptyString,
      state: Schema.Struct({ n: Schema.Int }),
      event: Schema.TaggedStruct("Counted", { by: Schema.Int }),
      command: Schema.TaggedStruct("Count", { by: Schema.Int }),
      initial: (id) => {
        assert.strictEqual(id, "only")
        return { n: 0 }
      },
      evolve: (state, event) => {
        balances = Math.max(balances, Math.abs(event.by))
        return { n: state.n + 1 }
      },
      decide: (state, command) => {
        longest.push(state.n)
        return Either.right([{ _tag: "Counted", by: command.by }])
      }
    })
    const invariant = ({ n }: { readonly n: number }) => {
      if (n === 1) histories++
      return true
    }
    const options = {
      runs: 30,
      size: 4,
      seed: 1,
      invariant,
      id: fc.constant("only"),
      command: fc.constantFrom({ _tag: "Count", by: 7 } as const, { _tag: "Count", by: -7 } as const)
    }
    for (const { check } of AggregateLaws.laws(Watched, options)) check()
    assert.isAtMost(histories, 30)
    assert.isAbove(histories, 10)
    assert.strictEqual(Math.max(...longest), 4)
    assert.strictEqual(balances, 7)
  })
})

describe("differences", () => {
  // includes maps, sets, dates, typed arrays and sparse arrays
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withObjectString: true,
    withTypedArray: true
  })

  it.prop("a value equals itself and its copy", [anything], ([value]) => {
    assert.deepStrictEqual(differences(value, value), [])
    assert.deepStrictEqual(differences(value, Mutation.make().copy(value)), [])
  })

  it.prop("equality is symmetric, and two values that differ are not identical", [anything, anything], ([a, b]) => {
    assert.strictEqual(same(a, b), same(b, a))
    if (!same(a, b)) assert.notStrictEqual(a, b)
  })

  it.prop("freezing does not change a value", [anything], ([value]) => {
    const before = Mutation.make().copy(value)
    Mutation.make().freeze(value)
    assert.deepStrictEqual(differences(before, value), [])
  })

  it("finds differences that other comparisons miss, with their paths", () => {
    class A {
      constructor(readonly n: number) {}
    }
    const { BigDecimal, Chunk, Data, HashMap, HashSet, List, Option, Order, SortedMap, SortedSet } = effect
    const byN = Order.mapInput(Order.number, ({ n }: { readonly n: number }) => n)
    const sorted = (...ns: ReadonlyArray<number>) => SortedSet.fromIterable(ns.map((n) => ({ n })), byN)
    const differ: ReadonlyArray<readonly [unknown, unknown, string]> = [
      [0, -0, "$"],
      [NaN, 0, "$"],
      [{ a: undefined }, {}, "$.a"],
      [[undefined], [], "$[0]"],
      [new A(1), { n: 1 }, "$"],
      [{ a: [1, { b: new Date(1) }] }, { a: [1, { b: new Date(2) }] }, "$.a[1].b"],
      [new Map([["k", 1]]), new Map([["k", 2]]), "$.k"],
      [new Set([1]), new Set([2]), "$[1]"],
      [HashMap.make(["k", { n: 1 }]), HashMap.make(["k", { n: 2 }]), "$.k.n"],
      [Option.some({ n: 1 }), Option.some({ n: 2 }), "$.value.n"],
      [Option.some(1), Option.none(), "$"],
      [Either.left(1), Either.right(1), "$"],
      [BigDecimal.unsafeFromString("1"), BigDecimal.unsafeFromString("2"), "$"],
      [Chunk.make(1, 2), Chunk.make(1, 3), "$[1]"],
      [List.make(1), List.make(1, 2), "$[1]"],
      [HashSet.make("a"), HashSet.make("b"), "$.a"],
      [sorted(1, 2), sorted(1, 3), "$[1].n"],
      [SortedMap.make(Order.string)(["k", 1]), SortedMap.make(Order.string)(["k", 2]), "$.k"],
      [new Error("a"), new Error("b"), "$.message"],
      [1n, 1, "$"],
      [JSON.parse("{\"__proto__\":1}"), {}, "$.__proto__"]
    ]
    for (const [a, b, path] of differ) assert.strictEqual(differences(a, b)[0]?.path, path, `${toCode(a)} ${toCode(b)}`)
    const equal: ReadonlyArray<readonly [unknown, unknown]> = [
      [NaN, NaN],
      [BigDecimal.unsafeFromString("1.0"), BigDecimal.unsafeFromString("1")],
      [new Map([["a", 1], ["b", 2]]), new Map([["b", 2], ["a", 1]])],
      [HashMap.make(["a", { n: 1 }], ["b", { n: 2 }]), HashMap.make(["b", { n: 2 }], ["a", { n: 1 }])],
      [Chunk.append(Chunk.make(1), 2), Chunk.make(1, 2)],
      [sorted(1, 2, 3), sorted(3, 2, 1)],
      [SortedMap.make(Order.string)(["a", 1], ["b", 2]), SortedMap.make(Order.string)(["b", 2], ["a", 1])],
      [Data.struct({ n: 1 }), { n: 1 }],
      [new Set([{ n: 1 }]), new Set([{ n: 1 }])],
      [{ a: 1, b: 2 }, { b: 2, a: 1 }]
    ]
    for (const [a, b] of equal) assert.deepStrictEqual(differences(a, b), [], toCode(a))
    assert.deepStrictEqual(differences({ a: undefined }, {}, new Set(["a"])), [])
  })

  it.prop("the code of a value makes that value", [fc.jsonValue()], ([value]) => {
    assert.deepStrictEqual(differences(value, new Function(`return (${toCode(value)})`)()), [])
  })
})
