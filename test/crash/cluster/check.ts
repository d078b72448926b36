// compares what a client was told with the stored events
import * as CommandIds from "../../../src/internal/repository/commandIds.js"
import { stream } from "../../fixtures/Account.js"
import type { Answer, Command, Rejection, Said, State } from "./protocol.js"

export interface Stored {
  readonly id: string
  readonly version: number
  readonly type: string
  readonly amount: number | undefined
}

export type History = ReadonlyMap<string, ReadonlyArray<Stored>>

interface Call {
  readonly call: number
  readonly id: string
  readonly commands: ReadonlyArray<Command>
  /** The ids that the events of the command have. */
  readonly eventIds: ReadonlyArray<string>
  readonly asked: number
  /** The highest version that was answered before the call. */
  readonly known: number
  answered: number
  answer: Answer | undefined
  /** The stored events of the command. */
  readonly stored: Array<Stored>
}

// -------------------------------------------------------------------------------------
// the model
// -------------------------------------------------------------------------------------

const evolve = ({ balance, open }: State, { amount = 0, type }: Pick<Stored, "amount" | "type">): State =>
  type === "Opened" ? { open: true, balance } : { open, balance: balance + (type === "Deposited" ? amount : -amount) }

const typeOf = { Open: "Opened", Deposit: "Deposited", Withdraw: "Withdrawn" } as const

/** The events of commands, or the rejection of the first one that is rejected. */
const decide = (
  before: State,
  commands: ReadonlyArray<Command>
): ReadonlyArray<Pick<Stored, "amount" | "type">> | Rejection => {
  let state = before
  const events: Array<Pick<Stored, "amount" | "type">> = []
  for (const command of commands) {
    if (command._tag === "Open") {
      if (state.open) continue
    } else if (!state.open) return { _tag: "NotOpen" }
    else if (command._tag === "Withdraw" && state.balance < command.amount) {
      return { _tag: "InsufficientFunds", balance: state.balance }
    }
    const event = { type: typeOf[command._tag], amount: command._tag === "Open" ? undefined : command.amount }
    events.push(event)
    state = evolve(state, event)
  }
  return events
}

const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other)

const isState = (one: State, other: State | undefined) => one.open === other?.open && one.balance === other.balance

// -------------------------------------------------------------------------------------
// the check
// -------------------------------------------------------------------------------------

/** Everything that is wrong with the answers and the stored events, in words. */
export const problemsOf = (history: History, said: ReadonlyArray<Said>): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const calls = callsOf(said)
  const owner = new Map<string, Call>()
  for (const call of calls) for (const id of call.eventIds) owner.set(id, call)
  const states = new Map<string, ReadonlyArray<State>>()
  for (const [id, events] of history) {
    const folded: Array<State> = [{ open: false, balance: 0 }]
    for (const [index, event] of events.entries()) {
      if (event.version !== index + 1) problems.push(`${id} has version ${event.version} in place ${index + 1}`)
      folded.push(evolve(folded[index], event))
      const call = owner.get(event.id)
      if (call === undefined || call.id !== id) problems.push(`${id} ${event.version} is of no command for it`)
      else call.stored.push(event)
    }
    states.set(id, folded)
  }
  const ends = endsOf(calls)
  for (const call of calls) {
    const folded = states.get(call.id) ?? [{ open: false, balance: 0 }]
    for (const problem of problemsOfStored(call, folded)) problems.push(`${nameOf(call)}: ${problem}`)
    const last = Math.min(folded.length - 1, ends(call))
    for (const problem of problemsOfAnswer(call, folded, last)) {
      problems.push(`${nameOf(call)}, at version ${call.known} to ${last}: ${problem}`)
    }
  }
  return problems
}

const nameOf = ({ answer, call, commands, id }: Call) =>
  `call ${call} of ${id}, ${JSON.stringify(commands)}, answered ${JSON.stringify(answer)}`

const callsOf = (said: ReadonlyArray<Said>): ReadonlyArray<Call> => {
  const calls = new Map<number, Call>()
  const known = new Map<string, number>()
  for (const [index, line] of said.entries()) {
    if (line._tag === "Call") {
      const idOf = CommandIds.eventIds(stream(line.id), line.commandId)
      calls.set(line.call, {
        ...line,
        eventIds: line.commands.map((_, n) => idOf(n)),
        asked: index,
        known: known.get(line.id) ?? 0,
        answered: Infinity,
        answer: undefined,
        stored: []
      })
    }
    if (line._tag !== "Answer") continue
    const call = calls.get(line.call)
    if (call === undefined) continue
    call.answered = index
    call.answer = line.answer
    if (line.answer._tag === "Executed" || line.answer._tag === "Loaded") {
      known.set(call.id, Math.max(known.get(call.id) ?? 0, line.answer.version))
    }
  }
  return Array.from(calls.values())
}

/** The last version that the stream of a call may have had when the call was answered. */
const endsOf = (calls: ReadonlyArray<Call>): (call: Call) => number => {
  const later = new Map<string, Array<{ readonly asked: number; first: number }>>()
  for (const { asked, id, stored } of calls) {
    if (stored.length === 0) continue
    const of = later.get(id) ?? []
    of.push({ asked, first: stored[0].version })
    later.set(id, of)
  }
  for (const of of later.values()) {
    for (let n = of.length - 2; n >= 0; n--) of[n].first = Math.min(of[n].first, of[n + 1].first)
  }
  return ({ answered, id }) => {
    const of = later.get(id) ?? []
    let [low, high] = [0, of.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (of[middle].asked > answered) high = middle
      else low = middle + 1
    }
    return low === of.length ? Infinity : of[low].first - 1
  }
}

/** A command is stored once, whole, and as the model decides it. */
function* problemsOfStored(
  { commands, eventIds, known, stored }: Call,
  states: ReadonlyArray<State>
): Generator<string, void> {
  if (stored.length === 0) return
  if (new Set(stored.map(({ id }) => id)).size !== stored.length) yield "an event is stored twice"
  const first = stored[0].version
  if (stored.some(({ id, version }, n) => version !== first + n || id !== eventIds[n])) {
    yield `its events are not together: ${JSON.stringify(stored)}`
  }
  if (first <= known) yield `its events begin at ${first}, and ${known} was known before it`
  const decided = decide(states[first - 1], commands)
  const found = stored.map(({ amount, type }) => ({ type, amount }))
  if (!same(decided, found)) yield `${JSON.stringify(found)} is stored, the model gives ${JSON.stringify(decided)}`
}

/** An answer is that of the model for a state that the stream had between the call and the answer. */
function* problemsOfAnswer(
  { answer, commands, known, stored }: Call,
  states: ReadonlyArray<State>,
  last: number
): Generator<string, void> {
  if (last < known) yield "the versions go back"
  const between = states.slice(known, last + 1)
  switch (answer?._tag) {
    case undefined:
      yield "there is no answer"
      return
    case "Unknown":
      return
    case "Refused":
    case "Rejected":
      if (stored.length > 0) yield "it was applied all the same"
      else if (
        answer._tag === "Rejected" && !between.some((state) => same(decide(state, commands), answer.rejection))
      ) {
        yield `no state would reject it so: ${JSON.stringify(between)}`
      }
      return
    case "Loaded":
      if (answer.version < known || answer.version > last) yield "the version is not one of that time"
      if (!isState(answer.state, states[answer.version])) yield `replay gives ${JSON.stringify(states[answer.version])}`
      return
    case "Executed":
      if (answer.events !== stored.length) yield `${stored.length} of its ${answer.events} events are stored`
      if (answer.version < known || answer.version > last) yield "the version is not one of that time"
      if (stored.length > 0 && stored[stored.length - 1].version !== answer.version) {
        yield `its last event is stored at ${stored[stored.length - 1].version}`
      }
      // the state of a repeated command is the current one
      if (
        answer.duplicate
          ? !states.slice(answer.version, last + 1).some((state) => isState(answer.state, state))
          : !isState(answer.state, states[answer.version])
      ) yield `replay gives ${JSON.stringify(states[answer.version])}`
      if (answer.events === 0 && !between.some((state) => same(decide(state, commands), []))) yield "it has no events"
  }
}
