// the check of the crash suite accepts what a store with one state does, and finds each kind of wrong answer
import { FastCheck as fc } from "effect"
import { assert, describe, it } from "vitest"
import * as CommandIds from "../../../src/internal/repository/commandIds.js"
import { stream } from "../../fixtures/Account.js"
import { problemsOf, type Stored } from "./check.js"
import type { Answer, Command, Said } from "./protocol.js"

interface Running {
  readonly call: number
  readonly commands: ReadonlyArray<Command>
  answer?: Answer
}

/** A store with one account, whose calls take effect at some moment between the call and the answer. */
const makeBook = () => {
  const said: Array<Said> = []
  const events: Array<Stored> = []
  const state = { open: false, balance: 0 }
  const running: Array<Running> = []
  let calls = 0
  const call = (commands: ReadonlyArray<Command>) => {
    const call = calls++
    said.push({ _tag: "Call", call, id: "a", commandId: `c${call}`, commands })
    running.push({ call, commands })
  }
  const append = (call: number, n: number, type: string, amount?: number) => {
    events.push({ id: CommandIds.eventIds(stream("a"), `c${call}`)(n), version: events.length + 1, type, amount })
  }
  const apply = ({ call, commands: [command] }: Running): Answer => {
    const before = events.length
    if (command?._tag === "Open" && !state.open) {
      state.open = true
      append(call, 0, "Opened")
    } else if (command !== undefined && !state.open) return { _tag: "Rejected", rejection: { _tag: "NotOpen" } }
    else if (command?._tag === "Deposit") {
      state.balance += command.amount
      append(call, 0, "Deposited", command.amount)
    } else if (command?._tag === "Withdraw") {
      if (state.balance < command.amount) {
        return { _tag: "Rejected", rejection: { _tag: "InsufficientFunds", balance: state.balance } }
      }
      state.balance -= command.amount
      append(call, 0, "Withdrawn", command.amount)
    }
    const version = events.length
    return command === undefined
      ? { _tag: "Loaded", version, state: { ...state } }
      : { _tag: "Executed", version, events: version - before, duplicate: false, state: { ...state } }
  }
  const answer = (one: Running) => {
    running.splice(running.indexOf(one), 1)
    said.push({ _tag: "Answer", call: one.call, took: 0, answer: one.answer ??= apply(one) })
  }
  return {
    said,
    events,
    running,
    call,
    take: (one: Running) => void (one.answer ??= apply(one)),
    answer,
    /** Calls and answers at once. */
    ask: (command?: Command) => {
      call(command === undefined ? [] : [command])
      answer(running[running.length - 1])
    },
    problems: () => problemsOf(new Map([["a", events]]), said)
  }
}

const amount = fc.integer({ min: 1, max: 9 })

const step = fc.oneof(
  fc.record({
    _tag: fc.constant("call" as const),
    command: fc.oneof(
      fc.constant(undefined),
      fc.constant<Command>({ _tag: "Open" }),
      fc.record({ _tag: fc.constantFrom("Deposit" as const, "Withdraw" as const), amount })
    )
  }),
  fc.record({ _tag: fc.constantFrom("take" as const, "answer" as const), which: fc.nat() })
)

describe("the check of a cluster's answers", () => {
  it("finds nothing if each call takes effect between the call and its answer", () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const book = makeBook()
      for (const step of steps) {
        const { running } = book
        if (step._tag === "call") book.call(step.command === undefined ? [] : [step.command])
        else if (running.length > 0) book[step._tag](running[step.which % running.length])
      }
      for (const one of book.running.slice()) book.answer(one)
      assert.deepStrictEqual(book.problems(), [])
    }))
  })

  const finds = (name: string, says: string, tamper: (book: ReturnType<typeof makeBook>) => void) =>
    it(`finds ${name}`, () => {
      const book = makeBook()
      book.ask({ _tag: "Open" })
      book.ask({ _tag: "Deposit", amount: 5 })
      book.ask({ _tag: "Withdraw", amount: 6 })
      book.ask({ _tag: "Deposit", amount: 2 })
      book.ask()
      assert.deepStrictEqual(book.problems(), [])
      tamper(book)
      const problems = book.problems()
      assert.isTrue(problems.some((problem) => problem.includes(says)), problems.join("\n"))
    })

  const answered = (said: Array<Said>, call: number, answer: Answer) => {
    const index = said.findIndex((line) => line._tag === "Answer" && line.call === call)
    said[index] = { _tag: "Answer", call, took: 0, answer }
  }

  finds("an acknowledged command that is lost", "0 of its 1 events are stored", ({ events }) => events.pop())
  finds(
    "a command that was applied twice",
    "an event is stored twice",
    ({ events }) => events.push({ ...events[2], version: 4 })
  )
  finds(
    "an event of no command",
    "is of no command for it",
    ({ events }) => events.push({ ...events[2], id: "x", version: 4 })
  )
  finds("a gap in the versions", "a has version 4 in place 3", ({ events }) => events[2] = { ...events[2], version: 4 })
  finds(
    "another event than the command decides",
    "the model gives",
    ({ events }) => events[2] = { ...events[2], amount: 3 }
  )
  finds(
    "a rejected command that was applied",
    "it was applied all the same",
    ({ said }) => answered(said, 3, { _tag: "Rejected", rejection: { _tag: "NotOpen" } })
  )
  finds(
    "a refused command that was applied",
    "it was applied all the same",
    ({ said }) => answered(said, 3, { _tag: "Refused", error: "the server was stopped" })
  )
  finds(
    "a rejection of a state that was long ago",
    "no state would reject it so",
    ({ said }) => answered(said, 2, { _tag: "Rejected", rejection: { _tag: "InsufficientFunds", balance: 0 } })
  )
  finds("a rejection without a reason", "no state would reject it so", (book) => {
    book.ask({ _tag: "Withdraw", amount: 1 })
    book.events.pop()
    answered(book.said, 5, { _tag: "Rejected", rejection: { _tag: "InsufficientFunds", balance: 7 } })
  })
  finds("an old state in an answer", "replay gives", ({ said }) =>
    answered(said, 3, {
      _tag: "Executed",
      version: 3,
      events: 1,
      duplicate: false,
      state: { open: true, balance: 5 }
    }))
  finds(
    "an old load",
    "the version is not one of that time",
    ({ said }) => answered(said, 4, { _tag: "Loaded", version: 2, state: { open: true, balance: 5 } })
  )
  finds(
    "a load of another state",
    "replay gives",
    ({ said }) => answered(said, 4, { _tag: "Loaded", version: 3, state: { open: true, balance: 6 } })
  )
  finds("a call without an answer", "there is no answer", ({ said }) => said.pop())
})
