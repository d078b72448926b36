import { assert, describe, it } from "@effect/vitest"
import { Either, Option, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"
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

  it("says what was expected, what came, and where they differ", () => {
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
    assert.include(other, "differs at $[0].amount: expected 5, actual 7")
    assert.include(rejected, "rejects the command, it was to be accepted")
    assert.include(rejected, "new InsufficientFunds({ balance: 0 })")
    assert.include(accepted, "accepts the command, it was to be rejected")
    assert.include(reason, "for another reason")
    assert.include(field, "differs at $.balance: expected 1, actual 0")
    assert.include(given, "differs at $.balance: expected 1, actual 0")
    assert.include(state, "differs at $.balance: expected 1, actual 7")
    assert.include(none, "differs at $[0]: expected nothing, actual { _tag: \"Deposited\", amount: 7 }")
    assert.deepStrictEqual(failures[0].expected, [{ _tag: "Deposited", amount: 5 }])
    assert.deepStrictEqual(failures[0].actual, [{ _tag: "Deposited", amount: 7 }])
  })

  it("compares what effect's data types hold, and classes by their class", () => {
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
    assert.include(message, "differs at $[0].to.value: expected \"y\", actual \"x\"")
  })

  it("what is no list of events asserts nothing, and says so", () => {
    const { then } = AggregateTest.given(Account, account, [opened]).when(withdraw)
    // what a program without types, or an unchecked index, may give
    for (const expected of [undefined, null, deposited, "x"]) {
      const failure = failureOf(() => Reflect.apply(then, undefined, [expected]))
      assert.include(failure.message, "nothing is asserted")
    }
  })

  it("a decision that is awaited, or returned to the runner, is rejected with what is missing", async () => {
    const decision = AggregateTest.given(Account, account, [opened]).when(withdraw)
    const error = await Promise.resolve(decision).then(() => undefined, (error: unknown) => error)
    assert.instanceOf(error, AssertionError)
    assert.include(error.message, "nothing is asserted")
    // what an assertion gives can be returned
    const checked = await Promise.resolve(decision.thenRejects(new InsufficientFunds({ balance: 0 })))
    assert.notProperty(checked, "then")
  })
})
