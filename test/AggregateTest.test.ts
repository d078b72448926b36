import { assert, describe, it } from "@effect/vitest"
import { Data, Either, Option, Schema } from "effect"
import { Aggregate, InvalidOption } from "effect-eventsourcing"
import { AggregateTest } from "effect-eventsourcing/testing"
import { AssertionError } from "node:assert"
import { Account, Deposited, id, InsufficientFunds, NotOpen, Opened, Withdrawn } from "./fixtures/Account.js"

const opened = Opened.make()
const deposited = Deposited.make({ amount: 5 })
const withdraw = { _tag: "Withdraw", amount: 9 } as const
const account = id("a")

const failureOf = (body: () => unknown): AssertionError => {
  try {
    body()
  } catch (error) {
    assert.instanceOf(error, AssertionError)
    return error
  }
  return assert.fail("nothing was thrown")
}

describe("given, when, then", () => {
  it("an accepted command, a rejected one, and the state after them", () => {
    AggregateTest.given(Account, account, [opened, deposited])
      .when({ _tag: "Withdraw", amount: 2 })
      .then([Withdrawn.make({ amount: 2 })])
      .thenState({ open: true, balance: 3 })
    AggregateTest.given(Account, account, [opened, deposited])
      .when(withdraw)
      .thenRejects(new InsufficientFunds({ balance: 5 }))
      .thenState({ open: true, balance: 5 })
    AggregateTest.given(Account, account, []).when(withdraw).thenRejects(new NotOpen())
    AggregateTest.given(Account, account, [opened]).when({ _tag: "Open" }).then([])
    AggregateTest.given(Account, account, [opened, deposited]).thenState({ open: true, balance: 5 })
    AggregateTest.given(Account, account, [opened]).when({ _tag: "Deposit", amount: 1, times: 2 })
      .thenState({ open: true, balance: 2 })
      .thenState({ open: true, balance: 2 })
  })

  it("a history of commands", () => {
    AggregateTest.givenCommands(Account, account, [{ _tag: "Open" }, { _tag: "Deposit", amount: 5 }])
      .when(withdraw)
      .thenRejects(new InsufficientFunds({ balance: 5 }))
    const { message } = failureOf(() => AggregateTest.givenCommands(Account, account, [{ _tag: "Open" }, withdraw]))
    assert.include(message, "command 2 of the 2 given ones is rejected")
    assert.include(message, "new InsufficientFunds({ balance: 0 })")
  })

  it("prints the expected value, the actual value, and their differences", () => {
    const failures = [
      failureOf(() =>
        AggregateTest.given(Account, account, [opened]).when({ _tag: "Deposit", amount: 7 }).then([deposited])
      ),
      failureOf(() => AggregateTest.given(Account, account, [opened]).when(withdraw).then([deposited])),
      failureOf(() =>
        AggregateTest.given(Account, account, [opened]).when({ _tag: "Open" }).thenRejects(new NotOpen())
      ),
      failureOf(() => AggregateTest.given(Account, account, [opened]).when(withdraw).thenRejects(new NotOpen())),
      failureOf(() =>
        AggregateTest.given(Account, account, [opened]).when(withdraw)
          .thenRejects(new InsufficientFunds({ balance: 1 }))
      ),
      failureOf(() => AggregateTest.given(Account, account, [opened]).thenState({ open: true, balance: 1 })),
      failureOf(() =>
        AggregateTest.given(Account, account, [opened]).when({ _tag: "Deposit", amount: 7 })
          .then([Deposited.make({ amount: 7 })])
          .thenState({ open: true, balance: 1 })
      ),
      failureOf(() => AggregateTest.given(Account, account, [opened]).when({ _tag: "Deposit", amount: 7 }).then([]))
    ]
    const [other, rejected, accepted, reason, field, given, state, none] = failures.map(({ message }) => message)
    assert.include(other, "Account decides other events.")
    assert.include(other, "differs at $[0].amount  expected 5, actual 7")
    assert.include(rejected, "rejects the command instead of accepting it")
    assert.include(rejected, "new InsufficientFunds({ balance: 0 })")
    assert.include(accepted, "accepts the command instead of rejecting it")
    assert.include(reason, "for another reason")
    assert.include(field, "differs at $.balance  expected 1, actual 0")
    assert.include(given, "differs at $.balance  expected 1, actual 0")
    assert.include(state, "differs at $.balance  expected 1, actual 7")
    assert.include(none, "differs at $[0]  expected nothing, actual { _tag: \"Deposited\", amount: 7 }")
    assert.deepStrictEqual(failures[0].expected, [{ _tag: "Deposited", amount: 5 }])
    assert.deepStrictEqual(failures[0].actual, [{ _tag: "Deposited", amount: 7 }])
  })

  it("compares the contents of Effect's data types, and classes by their class", () => {
    class Renamed extends Schema.TaggedClass<Renamed>()("Renamed", { to: Schema.Option(Schema.String) }) {}
    const Named = Aggregate.make({
      name: "Named",
      id: Schema.NonEmptyString,
      state: Schema.Struct({ name: Schema.Option(Schema.Struct({ text: Schema.String })), at: Schema.Date }),
      event: Renamed,
      command: Schema.TaggedStruct("Rename", { to: Schema.NullOr(Schema.String) }),
      initial: () => ({ name: Option.none(), at: new Date(0) }),
      evolve: (state, event) => ({ ...state, name: Option.map(event.to, (text) => ({ text })) }),
      decide: (_state, command) => Either.right([new Renamed({ to: Option.fromNullable(command.to) })])
    })
    AggregateTest.given(Named, "n", [])
      .when({ _tag: "Rename", to: "x" })
      .then([new Renamed({ to: Option.some("x") })])
      .thenState({ name: Option.some({ text: "x" }), at: new Date(0) })
    const { message } = failureOf(() =>
      AggregateTest.given(Named, "n", []).when({ _tag: "Rename", to: "x" }).then([
        new Renamed({ to: Option.some("y") })
      ])
    )
    assert.include(message, "differs at $[0].to.value  expected \"y\", actual \"x\"")
  })

  it("a value that is not a list of events fails with an explanation", () => {
    const { then } = AggregateTest.given(Account, account, [opened]).when(withdraw)
    // values that a program without types, or an unchecked index, may pass
    for (const expected of [undefined, null, deposited, "x"]) {
      const failure = failureOf(() => Reflect.apply(then, undefined, [expected]))
      assert.include(failure.message, "nothing is asserted")
    }
  })

  it("a decision that is awaited, or returned to the runner, is rejected with an explanation", async () => {
    const decision = AggregateTest.given(Account, account, [opened]).when(withdraw)
    const error = await Promise.resolve(decision).then(() => undefined, (error: unknown) => error)
    assert.instanceOf(error, AssertionError)
    assert.include(error.message, "nothing is asserted")
    // the result of an assertion can be returned
    const checked = await Promise.resolve(decision.thenRejects(new InsufficientFunds({ balance: 0 })))
    assert.notProperty(checked, "then")
  })
})

describe("values that do not match their schemas are rejected", () => {
  const Amount = Schema.Int.pipe(Schema.positive())
  const PurseId = Schema.NonEmptyString.pipe(Schema.brand("PurseId"))
  class TooMuch extends Schema.TaggedError<TooMuch>()("TooMuch", { left: Schema.NonNegativeInt }) {}
  const Purse = Aggregate.make({
    name: "Purse",
    id: PurseId,
    state: Schema.Struct({ cents: Schema.NonNegativeInt, note: Schema.optional(Schema.String) }),
    event: Schema.Union(
      Schema.TaggedStruct("Filled", { cents: Amount, note: Schema.optional(Schema.String) }),
      Schema.TaggedStruct("Emptied", {})
    ),
    command: Schema.Union(Schema.TaggedStruct("Fill", { cents: Amount }), Schema.TaggedStruct("Break", {})),
    initial: () => ({ cents: 0 }),
    evolve: (state, event) =>
      event._tag === "Filled" ? { cents: state.cents + event.cents, note: event.note } : { cents: 0 },
    decide: (state, command) => {
      if (command._tag === "Break") return Either.right([{ _tag: "Filled", cents: state.cents / 0 }])
      return command.cents > 100
        ? Either.left(new TooMuch({ left: 100 }))
        : Either.right([{ _tag: "Filled", cents: command.cents, note: undefined }])
    }
  })
  const filled = { _tag: "Filled", cents: 1 } as const

  // values that JavaScript, a cast or an outdated fixture may pass
  const refusalOf = (call: (...args: ReadonlyArray<unknown>) => unknown, ...args: ReadonlyArray<unknown>): string => {
    try {
      call(...args)
    } catch (error) {
      assert.instanceOf(error, InvalidOption.InvalidOption)
      return error.message
    }
    return assert.fail("it was taken")
  }
  const given = (...args: ReadonlyArray<unknown>) => Reflect.apply(AggregateTest.given, undefined, [Purse, ...args])
  const commands = (...args: ReadonlyArray<unknown>) =>
    Reflect.apply(AggregateTest.givenCommands, undefined, [Purse, ...args])
  const { when } = AggregateTest.given(Purse, PurseId.make("p"), [filled])
  const decision = when({ _tag: "Fill", cents: 5 })
  const rejected = when({ _tag: "Fill", cents: 500 })
  const apply = (method: (argument: never) => unknown) => (argument: unknown) =>
    Reflect.apply(method, undefined, [argument])

  const cases: Readonly<Record<string, readonly [refusal: () => string, ...says: ReadonlyArray<string>]>> = {
    "an empty id": [() => refusalOf(given, "", []), "given id", "a non empty string"],
    "an event of another kind": [
      () => refusalOf(given, "p", [filled, { _tag: "Lost" }]),
      "given event 2 of 2",
      "$._tag",
      "Lost"
    ],
    "an event with NaN": [
      () => refusalOf(given, "p", [{ ...filled, cents: NaN }]),
      "given event 1 of 1",
      "{ _tag: \"Filled\", cents: NaN }",
      "$.cents",
      "Expected an integer, actual NaN"
    ],
    "a given command": [
      () => refusalOf(commands, "p", [{ _tag: "Fill", cents: -1 }]),
      "given command 1 of 1",
      "$.cents",
      "positive"
    ],
    "a command": [() => refusalOf(apply(when), { _tag: "Fill", cents: 0.5 }), "when command", "$.cents", "an integer"],
    "expected events": [
      () => refusalOf(apply(decision.then), [filled, { ...filled, cents: -5 }]),
      "then event 2 of 2",
      "$.cents",
      "a positive number, actual -5"
    ],
    "an expected state": [
      () => refusalOf(apply(decision.thenState), { cents: -1 }),
      "thenState state",
      "$.cents",
      "a non-negative number"
    ],
    "an expected rejection": [
      () => refusalOf(apply(rejected.thenRejects), new TooMuch({ left: -1 }, { disableValidation: true })),
      "thenRejects rejection",
      "$.left",
      "a non-negative number"
    ]
  }
  for (const [name, [refusal, ...says]] of Object.entries(cases)) {
    it(name, () => {
      const message = refusal()
      for (const text of says) assert.include(message, text)
    })
  }

  it("decided events are stored and read back first, as a repository does it", () => {
    const { message } = failureOf(() => when({ _tag: "Break" }))
    assert.include(message, "Purse decides an event that cannot be stored.")
    assert.include(message, "$.cents")
    assert.include(message, "Infinity")
    // an undefined field is absent then
    const InTwo = Aggregate.make({
      name: "InTwo",
      id: Schema.String,
      state: Schema.Array(Schema.String),
      event: Schema.TaggedStruct("Named", { name: Schema.optional(Schema.String) }),
      command: Schema.TaggedStruct("Name", {}),
      initial: () => [],
      evolve: (state, event) => [...state, "name" in event ? "present" : "absent"],
      decide: (_state, _command) => Either.right([{ _tag: "Named", name: undefined }])
    })
    AggregateTest.given(InTwo, "a", [{ _tag: "Named", name: undefined }]).thenState(["absent"])
    AggregateTest.givenCommands(InTwo, "a", [{ _tag: "Name" }])
      .when({ _tag: "Name" })
      .then([{ _tag: "Named" }])
      .thenState(["absent", "absent"])
    const Rounded = Aggregate.make({
      name: "Rounded",
      id: Schema.String,
      state: Schema.Number,
      event: Schema.TaggedStruct("Set", {
        to: Schema.transform(Schema.String, Schema.Number, {
          strict: true,
          decode: Number,
          encode: (to) => to.toFixed(1)
        })
      }),
      command: Schema.TaggedStruct("Set", { to: Schema.Number }),
      initial: () => 0,
      evolve: (_state, event) => event.to,
      decide: (_state, command) => Either.right([{ _tag: "Set", to: command.to }])
    })
    const lost = failureOf(() =>
      AggregateTest.given(Rounded, "a", []).when({ _tag: "Set", to: 0.25 }).then([{ _tag: "Set", to: 0.25 }])
    )
    assert.include(lost.message, "differs at $[0].to  expected 0.25, actual 0.3")
    assert.include(lost.message, "as they are read back")
  })

  it("a rejection must match its own class", () => {
    const Wrong = Aggregate.make({
      name: "Wrong",
      id: Schema.String,
      state: Schema.Int,
      event: Schema.TaggedStruct("Done", {}),
      command: Schema.TaggedStruct("Do", {}),
      initial: () => 0,
      evolve: (state) => state,
      decide: (_state, _command) => Either.left(new TooMuch({ left: -3 }, { disableValidation: true }))
    })
    const { message } = failureOf(() => AggregateTest.given(Wrong, "a", []).when({ _tag: "Do" }))
    assert.include(message, "Wrong rejects the command with a value that its own schema refuses.")
    assert.include(message, "$.left")
  })

  it("names a function that changes its input", () => {
    class Refused extends Data.TaggedError("Refused") {}
    const Writing = (evolves: boolean) =>
      Aggregate.make({
        name: "Writing",
        id: Schema.String,
        state: Schema.mutable(Schema.Struct({ n: Schema.Int, seen: Schema.Set(Schema.String) })),
        event: Schema.TaggedStruct("Counted", {}),
        command: Schema.TaggedStruct("Count", {}),
        initial: () => ({ n: 0, seen: new Set<string>() }),
        evolve: (state) => {
          if (evolves) state.n++
          return { ...state, n: state.n + 1 }
        },
        decide: (state, _command) => {
          if (!(state.seen instanceof Set)) return Either.right([{ _tag: "Counted" }])
          state.seen.add("x")
          return Either.left(new Refused())
        }
      })
    const frozen = failureOf(() => AggregateTest.given(Writing(true), "a", [{ _tag: "Counted" }]))
    assert.include(frozen.message, "evolve changes its input.")
    assert.include(frozen.message, "read only property 'n'")
    const compared = failureOf(() => AggregateTest.given(Writing(false), "a", []).when({ _tag: "Count" }))
    assert.include(compared.message, "decide changes its input.")
    assert.include(compared.message, "$.state.seen")
  })
})
