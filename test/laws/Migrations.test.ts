import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc, Schema } from "effect"
import { Aggregate, InvalidOption, Versions } from "effect-eventsourcing"
import { AggregateLaws } from "effect-eventsourcing/testing"
import { Account } from "../fixtures/Account.js"
import {
  AccountV2,
  AccountV3,
  AccountV3Broken,
  AccountV3Plain,
  AccountV3Transformed,
  twoToThree
} from "../fixtures/AccountVersions.js"
import { lawsWithin, virtualTime } from "../utils/laws.js"
import { everything } from "../utils/mode.js"

// a card whose version 2 adds a limit

const CardV1 = Schema.Struct({ owner: Schema.NullOr(Schema.String), cents: Schema.Int })
const CardV2 = Schema.Struct({ owner: Schema.NullOr(Schema.String), cents: Schema.Int, limit: Schema.Int })
const Issued = Schema.TaggedStruct("Issued", { owner: Schema.String })
const Charged = Schema.TaggedStruct("Charged", { cents: Schema.Int })
const shared = {
  name: "Card",
  id: Schema.NonEmptyString,
  event: Schema.Union(Issued, Charged),
  command: Schema.Union(Issued, Charged),
  decide: (_: unknown, command: typeof Issued.Type | typeof Charged.Type) => Either.right([command])
} as const
type Event = typeof Issued.Type | typeof Charged.Type

const evolve = <S extends typeof CardV1.Type>(state: S, event: Event): S =>
  event._tag === "Issued" ? { ...state, owner: event.owner } : { ...state, cents: state.cents + event.cents }

const CardAsV1 = Aggregate.make({ ...shared, state: CardV1, initial: () => ({ owner: null, cents: 0 }), evolve })

const card = (
  step: (state: typeof CardV1.Type) => typeof CardV2.Type,
  evolution: (state: typeof CardV2.Type, event: Event) => typeof CardV2.Type = evolve
) =>
  Aggregate.make({
    ...shared,
    state: CardV2,
    schemaVersion: 2,
    migrations: Versions.from(1, CardV1).to(CardV2, step),
    initial: () => ({ owner: null, cents: 0, limit: 100 }),
    evolve: evolution
  })

const right = card((state) => ({ ...state, limit: 100 }))
const forgetful = card(({ cents }) => ({ owner: null, cents, limit: 100 }))
const wrong = card((state) => ({ ...state, cents: state.cents + 1, limit: 100 }))
const refusing = card((state) => ({ ...state, limit: 0.5 }))
const clocked = card((state) => ({ ...state, limit: state.cents > 3 ? 100 : 99 }))

const law = "snapshots and events of older code give the state of a full replay"

const storyOf = (laws: ReadonlyArray<AggregateLaws.Law>): string | undefined => {
  const found = laws.find(({ name }) => name === law)
  assert.isDefined(found)
  try {
    found!.check()
    return undefined
  } catch (error) {
    assert.instanceOf(error, AggregateLaws.LawBroken)
    return error.message
  }
}

const options = { seed: 1, runs: 40 }

describe("migrations", () => {
  it("an aggregate without migrations has no such law", () => {
    assert.notInclude(AggregateLaws.laws(Account).map(({ name }) => name), law)
  })

  it.runIf(everything)("correct ones pass, with and without the older code", () => {
    assert.isUndefined(storyOf(AggregateLaws.laws(right, options)))
    assert.isUndefined(
      storyOf(AggregateLaws.laws(right, { ...options, previous: [AggregateLaws.previous(CardAsV1)] }))
    )
    for (const now of [AccountV3, AccountV3Transformed]) {
      const previous = [AggregateLaws.previous(Account), AggregateLaws.previous(AccountV2)]
      for (const seed of [1, 2]) {
        assert.isUndefined(storyOf(AggregateLaws.laws(now, { seed, runs: 25 })))
        assert.isUndefined(storyOf(AggregateLaws.laws(now, { seed, runs: 25, previous })))
      }
    }
    // where no migration leads from the older version to this one, only its events are compared
    assert.isUndefined(
      storyOf(AggregateLaws.laws(AccountV3Plain, { ...options, previous: [AggregateLaws.previous(Account)] }))
    )
  })

  it("a forgotten field is found without the older code", () => {
    const story = storyOf(AggregateLaws.laws(forgetful, options))
    assert.include(story, "The migration from version 1 forgets the field owner")
    assert.include(story, "AggregateLaws.previous(")
  })

  it("a forgotten field is found with the older code, and reported as a history", () => {
    const { message } = assertThrows(() =>
      AggregateLaws.checkPrevious(CardAsV1, forgetful, { id: "a", commands: [{ _tag: "Issued", owner: "a" }] })
    )
    assert.include(message, "expected \"a\", actual null")
  })

  it("a wrong number, a rejected step or another rule is found only with the older code", () => {
    for (
      const [now, says] of [
        [wrong, "$.cents"],
        [refusing, "cannot be migrated"],
        [clocked, "$.limit"]
      ] as const
    ) {
      const previous = [AggregateLaws.previous(CardAsV1)]
      const story = storyOf(AggregateLaws.laws(now, { ...options, previous }))
      assert.include(story, says)
      const line = story!.split("\n").at(-1)!.trim()
      assert.match(line, /^AggregateLaws\.checkPrevious\(CardV1, Card, \{ id: .*\}\)$/)
      const again = () => new Function("AggregateLaws", "CardV1", "Card", line)(AggregateLaws, CardAsV1, now)
      assert.throws(again, AggregateLaws.LawBroken)
    }
  })

  it("a step that changes the meaning or throws is found from every older version", () => {
    const inCents = AccountV3Broken((state) => ({ ...twoToThree(state), cents: BigInt(state.balance) }))
    const throwing = AccountV3Broken(() => {
      throw new Error("planned")
    })
    const small = { seed: 7, runs: 50, histories: "events" } as const
    const old = AggregateLaws.previous(Account)
    assert.match(
      storyOf(AggregateLaws.laws(inCents, { ...small, previous: [old] }))!,
      /differs at \$\.cents +expected -?\d+n, actual -?\d+n/
    )
    const previous = [AggregateLaws.previous(AccountV2)]
    assert.include(storyOf(AggregateLaws.laws(throwing, { ...small, previous })), "planned")
  })

  it("a chain may not name another schema than the older code had", () => {
    const Other = Aggregate.make({
      ...shared,
      state: Schema.Struct({ ...CardV1.fields, color: Schema.String }),
      initial: () => ({ owner: null, cents: 0, color: "" }),
      evolve
    })
    const story = storyOf(AggregateLaws.laws(right, { ...options, previous: [AggregateLaws.previous(Other)] }))
    assert.include(story, "The migrations name another schema for version 1")
  })
})

describe("older versions that cannot be run", () => {
  it("rejects an object that is not an older version", () => {
    const { name, schemaVersion } = CardAsV1
    const other = { [AggregateLaws.PreviousTypeId]: AggregateLaws.PreviousTypeId, name, schemaVersion } as const
    assert.throws(() => AggregateLaws.laws(right, { previous: [other] }), InvalidOption.InvalidOption)
  })

  it.runIf(everything)("names a generator that hangs after some values", () => {
    let values = 0
    const command = fc.constant({ _tag: "Charged", cents: 1 } as const).map((value) => {
      while (values > 30);
      values++
      return value
    })
    const [migrations] = lawsWithin()(right, {
      seed: 1,
      runs: 5,
      previous: [AggregateLaws.previous(CardAsV1, { command })]
    })
      .filter(({ name }) => name === law)
    assert.throws(migrations.check, /histories of version 1 are not generated[^]*AggregateLaws\.previous/)
  })

  it.runIf(everything)("a slow older version takes seconds instead of minutes", () => {
    const { pass, stopwatch } = virtualTime()
    let histories = 0
    const Slow = {
      ...CardAsV1,
      initial: (id: string) => {
        histories++
        pass(200)
        return CardAsV1.initial(id)
      }
    }
    const previous = [AggregateLaws.previous(Slow)]
    assert.isUndefined(storyOf(lawsWithin({ stopwatch })(right, { seed: 1, size: 2, previous })))
    assert.isAbove(histories, 1)
    assert.isBelow(histories, 60)
  })
})

describe("upcasts", () => {
  const Taken = Schema.TaggedStruct("Taken", { euros: Schema.Int })
  const Old = Aggregate.make({
    name: "Card",
    id: Schema.NonEmptyString,
    state: CardV1,
    event: Schema.Union(Issued, Taken),
    command: Schema.Union(Issued, Taken),
    initial: () => ({ owner: null, cents: 0 }),
    evolve: (state, event) =>
      event._tag === "Issued" ? { ...state, owner: event.owner } : { ...state, cents: state.cents + event.euros * 100 },
    decide: (_state, command) => Either.right([command])
  })
  const now = (upcasts: { readonly [type: string]: Versions.Upcast<Event> }) =>
    Aggregate.make({
      ...shared,
      state: CardV2,
      schemaVersion: 2,
      migrations: Versions.from(1, CardV1).to(CardV2, (state) => ({ ...state, limit: 100 })),
      upcasts,
      initial: () => ({ owner: null, cents: 0, limit: 100 }),
      evolve
    })
  const previous = [AggregateLaws.previous(Old)]
  const upcast = (factor: number) =>
    Versions.from(1, Taken).to(Charged, ({ euros }) => Charged.make({ cents: euros * factor }))

  it("pass if they agree with older code", () => {
    assert.isUndefined(storyOf(AggregateLaws.laws(now({ Taken: upcast(100) }), { ...options, previous })))
  })

  it("are reported if they change the meaning, forget an event, or are missing", () => {
    const stories = [{ Taken: upcast(1) }, { Taken: Versions.retired }, {}].map((upcasts) =>
      storyOf(AggregateLaws.laws(now(upcasts), { ...options, previous }))
    )
    assert.include(stories[0], "$.cents")
    assert.include(stories[1], "$.cents")
    assert.include(stories[2], "under the type \"Taken\", which the current code does not know")
  })
})

const assertThrows = (body: () => void): Error => {
  try {
    body()
  } catch (error) {
    assert.instanceOf(error, AggregateLaws.LawBroken)
    return error
  }
  return assert.fail("nothing was thrown")
}
