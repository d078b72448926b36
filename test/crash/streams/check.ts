// compares what the workers said with each other, and with what is stored when they have ended
import { Effect } from "effect"
import { Event, EventStore, Position, Projections, Repository, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import * as CommandIds from "../../../src/internal/repository/commandIds.js"
import { Account, id } from "../../fixtures/Account.js"
import { readLedger, readTold } from "./ledger.js"
import { mayLose, placeOf, type Said } from "./protocol.js"

/** What the workers of a database said. */
export class Book {
  readonly said: Array<Said> = []
  readonly problems: Array<string> = []
}

type Of<Tag extends Said["_tag"]> = Extract<Said, { readonly _tag: Tag }>

const tagged = <Tag extends Said["_tag"]>(said: ReadonlyArray<Said>, tag: Tag): ReadonlyArray<Of<Tag>> =>
  said.filter((line): line is Of<Tag> => line._tag === tag)

const byStream = <A extends { readonly stream: string }>(
  lines: ReadonlyArray<A>
): ReadonlyMap<string, ReadonlyArray<A>> => {
  const found = new Map<string, Array<A>>()
  for (const line of lines) {
    const known = found.get(line.stream)
    if (known === undefined) found.set(line.stream, [line])
    else known.push(line)
  }
  return found
}

/** A rewrite: the version of its marker, the version of the event, and the amount after it, if that is known. */
interface Rewrite {
  readonly marker: number
  readonly target: number
  readonly amount: number | undefined
}

interface Stored {
  readonly id: string
  readonly version: number
  readonly type: string
  /** 0 for a marker. `undefined` if the content is gone. */
  readonly amount: number | undefined
}

interface History {
  /** The stored events, without those that were removed by a deletion. */
  readonly events: ReadonlyArray<Stored>
  readonly rewrites: ReadonlyArray<Rewrite>
  /** The versions of the markers of truncations. */
  readonly truncations: ReadonlyArray<number>
  /** Whether all rewrites and truncations are known: what a killed worker did in a removed stream is not. */
  readonly isKnown: boolean
}

/**
 * The balance of a stream at a version: each deposit is of 1, if it was not rewritten up to there. Of the events that
 * were archived, a state may have seen rewrites up to a later one.
 */
const balanceAt = (
  { rewrites, truncations }: History,
  version: number,
  archived: { readonly before: number; readonly seen: number } = { before: 0, seen: 0 }
): number | undefined => {
  const amounts = new Map<number, number | undefined>()
  const applied = rewrites.filter(({ marker, target }) =>
    target <= version && (marker <= version || (target < archived.before && marker <= archived.seen))
  )
  for (const { amount, target } of applied.sort((a, b) => a.marker - b.marker)) amounts.set(target, amount)
  const markers = [...rewrites.map(({ marker }) => marker), ...truncations].filter((marker) => marker <= version)
  let sum = Math.max(0, version - 1) - markers.length - amounts.size
  for (const amount of amounts.values()) {
    if (amount === undefined) return undefined
    sum += amount
  }
  return sum
}

/**
 * The balances that a load may give. The archive is read after the rows, so the events that were archived then may be as
 * a rewrite left them whose marker the load has not seen. `undefined` if one of the balances is not known.
 */
const balancesAt = (
  history: History,
  version: number,
  { befores, begun }: { readonly befores: ReadonlyArray<number>; readonly begun: (marker: number) => boolean }
): ReadonlyArray<number | undefined> => {
  const later = history.rewrites.filter(({ marker }) => marker > version && begun(marker))
  const balances = new Set([balanceAt(history, version)])
  for (const before of befores) {
    for (const { marker: seen, target } of later) {
      if (target < before) balances.add(balanceAt(history, version, { before, seen }))
    }
  }
  return [...balances]
}

const isTruncation = (line: Of<"Changing">): line is Extract<Of<"Changing">, { readonly kind: "truncate" }> =>
  line.kind === "truncate"

/** What must hold of a stream while the workers ran, by the order of the machine's clock. */
export const checkOrder = (
  said: ReadonlyArray<Said>,
  histories: ReadonlyMap<string, History>
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const [deleted, rewritten, executed] = [
    byStream(tagged(said, "Deleted")),
    byStream(tagged(said, "Rewritten")),
    byStream(tagged(said, "Executed"))
  ]
  const begins = byStream(tagged(said, "Changing").filter(({ kind }) => kind === "delete"))
  const truncated = byStream(tagged(said, "Truncated").filter(({ version }) => version > 0))
  const truncating = byStream(tagged(said, "Changing").filter(isTruncation))
  for (const [stream, loads] of byStream(tagged(said, "Loaded"))) {
    const history = histories.get(stream)
    const known = [...(executed.get(stream) ?? []), ...(rewritten.get(stream) ?? []), ...(truncated.get(stream) ?? [])]
    for (const { balance, began, ended: came, version } of loads) {
      const least = Math.max(0, ...known.filter(({ ended }) => ended < began).map(({ version }) => version))
      if (version < least) problems.push(`a load of ${stream} gave ${version} after ${least} was acknowledged`)
      const end = deleted.get(stream)?.find(({ ended }) => ended < began)
      if (end !== undefined) problems.push(`a load of ${stream} gave ${version} after it was deleted at ${end.version}`)
      if (history === undefined || !history.isKnown) continue
      const expected = balancesAt(history, version, {
        befores: (truncating.get(stream) ?? []).filter(({ began }) => began < came).map(({ before }) => before),
        begun: (marker) => (rewritten.get(stream)?.find(({ version }) => version === marker)?.began ?? 0) < came
      })
      if (!expected.includes(undefined) && !expected.includes(balance)) {
        problems.push(`a load of ${stream} at ${version} gave ${balance}, and not ${expected.join(" or ")}`)
      }
    }
  }
  for (const { ended, stream, what } of tagged(said, "Gapped")) {
    const isGone = (truncating.get(stream) ?? []).some(({ began, removes }) => removes && began < ended)
    if (!isGone) problems.push(`${what} of ${stream} met a gap, although no removal had begun`)
  }
  const versions = new Map(tagged(said, "Executed").map(({ command, version }) => [command, version]))
  for (const { command, duplicate, stream, version } of tagged(said, "Repeated")) {
    const first = versions.get(command)
    if (!duplicate || version !== first) {
      problems.push(`${command} of ${stream} is at ${first}, and its repetition at ${version}`)
    }
  }
  for (const [stream, ends] of deleted) {
    for (const { began, command, version } of executed.get(stream) ?? []) {
      for (const end of ends) {
        if (version >= end.version) problems.push(`${command} is at ${version} of ${stream}, deleted at ${end.version}`)
        if (began > end.ended) problems.push(`${command} was executed after ${stream} was deleted`)
      }
    }
    if (new Set(ends.map(({ version }) => version)).size > 1) problems.push(`${stream} was deleted twice`)
  }
  for (const { ended, stream, what } of tagged(said, "Refused")) {
    const isBegun = (begins.get(stream) ?? []).some(({ began }) => began < ended)
    if (!isBegun) problems.push(`${what} of ${stream} was refused although no deletion had begun`)
  }
  return problems
}

const field = (payload: unknown, name: string): number => Number(Reflect.get(Object(payload), name))

/** The stored events by stream. Those whose content is gone are among them, so they are read from the feed. */
const storedEvents = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const found = new Map<string, Array<Stored & { readonly payload: unknown }>>()
  let [after, atEnd] = [Position.start, false]
  while (!atEnd) {
    const page = yield* store.readPage({ after, aggregates: ["Account"] })
    for (const event of page.events) {
      const { id, stream, type, version } = event
      const payload = Event.isUnreadable(event) ? undefined : event.payload
      const amount = type === "Deposited" ? field(payload, "amount") : 0
      const stored = { id, version, type, payload, amount: payload === undefined ? undefined : amount }
      const events = found.get(stream.id)
      if (events === undefined) found.set(stream.id, [stored])
      else events.push(stored)
    }
    ;({ atEnd, settled: after } = page)
  }
  return found
})

/** The history of a stream: from the store, and, where contents were removed, from what was said. */
const historyOf = (
  said: ReadonlyArray<Said>,
  stream: string,
  stored: ReadonlyArray<Stored & { readonly payload: unknown }>
): History => {
  const of = <Line extends { readonly stream: string }>(lines: ReadonlyArray<Line>) =>
    lines.filter((line) => line.stream === stream)
  const acknowledged = of(tagged(said, "Rewritten"))
  const truncated = of(tagged(said, "Truncated"))
  if (stored.at(0)?.version !== 1) {
    const begun = of(tagged(said, "Changing")).filter(({ kind }) => kind !== "delete")
    return {
      events: stored,
      rewrites: acknowledged.map(({ amount, target, version }) => ({ marker: version, target, amount })),
      truncations: truncated.map(({ version }) => version).filter((version) => version > 0),
      // one that failed is begun, and not acknowledged
      isKnown: begun.length === acknowledged.length + truncated.length
    }
  }
  const markers = stored.filter(({ type }) => type === "$rewritten")
  let isKnown = true
  const rewrites = markers.map(({ payload, version }): Rewrite => {
    const told = acknowledged.find((line) => line.version === version)
    const target = told?.target ?? field(payload, "version")
    // neither the answer nor the marker is left
    if (Number.isNaN(target)) isKnown = false
    // the amount of the last one is stored
    const isLast = !markers.some((other) => other.version > version && field(other.payload, "version") === target)
    return { marker: version, target, amount: told?.amount ?? (isLast ? stored[target - 1]?.amount : undefined) }
  })
  const truncations = stored.filter(({ type }) => type === "$truncated").map(({ version }) => version)
  return { events: stored, rewrites, truncations, isKnown }
}

/** Checks everything, after all workers have ended. The ledger must follow the feed meanwhile. */
export const check = (book: Book) =>
  Effect.gen(function*() {
    const { problems, said } = book
    const store = yield* EventStore.EventStore
    const streams = new Set(said.flatMap((line) => "stream" in line ? [line.stream] : []))
    const histories = new Map<string, History>()
    const stored = yield* storedEvents
    for (const stream of streams) histories.set(stream, historyOf(said, stream, stored.get(stream) ?? []))
    problems.push(...checkOrder(said, histories))
    for (const [stream, history] of histories) problems.push(...checkStored(said, stream, history))
    const { last, missing } = yield* snapshotProblems(histories)
    problems.push(...missing)
    yield* Projections.awaitPosition("ledger", yield* store.head, { timeout: "1 minute" })
    const ledger = yield* readLedger
    const told = yield* readTold
    for (const [stream, { events }] of histories) {
      const isDeleted = events.at(-1)?.type === "$deleted"
      for (const { amount, type, version } of isDeleted ? [] : events) {
        if (type !== "Deposited") continue
        const found = ledger.get(`${stream} ${version}`)
        const isTold = amount === undefined && version < (told.get(stream) ?? 0)
        if (found !== amount && !isTold) {
          problems.push(`the ledger has ${found} for ${stream} ${version}, and not ${amount}`)
        }
        ledger.delete(`${stream} ${version}`)
      }
    }
    for (const key of ledger.keys()) problems.push(`the ledger has ${key}, which is not there`)
    return { events: last }
  })

const checkStored = (said: ReadonlyArray<Said>, stream: string, { events }: History): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const first = events.at(0)?.version ?? 1
  for (const [index, { type, version }] of events.entries()) {
    if (version !== first + index) problems.push(`${stream} has version ${version} in place ${first + index}`)
    if (type === "$deleted" && index !== events.length - 1) {
      problems.push(`${stream} goes on after its end at ${version}`)
    }
  }
  const end = tagged(said, "Deleted").find((line) => line.stream === stream)
  if (end !== undefined && events.at(-1)?.version !== end.version) {
    problems.push(`${stream} was deleted at ${end.version}, and ends at ${events.at(-1)?.version}`)
  }
  const last = events.at(-1)
  if (first !== 1) {
    if (last?.type !== "$deleted" || events.length !== 1) problems.push(`${stream} begins at ${first}`)
    return problems
  }
  const at = new Map(events.map(({ id, version }) => [version, id]))
  for (const line of tagged(said, "Executed")) {
    // a command that decides nothing has the version of the event before
    if (line.stream !== stream || line.events === 0) continue
    const derived = CommandIds.eventIds(StreamId.make("Account", stream), line.command)(line.events - 1)
    const stored = at.get(line.version)
    if (stored === derived || stored?.startsWith(`${line.command}#`) === true) continue
    problems.push(`${line.command} was acknowledged as ${stream} ${line.version}, where ${at.get(line.version)} is`)
  }
  for (const line of tagged(said, "Rewritten")) {
    if (line.stream !== stream) continue
    const marker = events[line.version - 1]
    if (marker?.type !== "$rewritten") {
      problems.push(`the rewrite of ${stream} ${line.target} has no marker at ${line.version}`)
    }
  }
  for (const line of tagged(said, "Truncated")) {
    if (line.stream !== stream || line.version === 0) continue
    const marker = events[line.version - 1]
    if (marker?.type !== "$truncated") problems.push(`a truncation of ${stream} has no marker at ${line.version}`)
  }
  return [...problems, ...contentProblems(said, stream, events)]
}

/** Contents are there unless a removal has begun, and gone if one has ended. */
const contentProblems = (
  said: ReadonlyArray<Said>,
  stream: string,
  events: ReadonlyArray<Stored>
): ReadonlyArray<string> => {
  const last = (
    lines: ReadonlyArray<{ readonly stream: string; readonly removes: boolean; readonly before: number }>
  ) => Math.max(0, ...lines.filter((line) => line.stream === stream && line.removes).map(({ before }) => before))
  const [begun, ended] = [last(tagged(said, "Changing").filter(isTruncation)), last(tagged(said, "Truncated"))]
  return events.flatMap(({ amount, version }) => {
    if (amount === undefined && version >= begun) return [`the content of ${stream} ${version} is gone`]
    return amount !== undefined && version < ended ? [`the content of ${stream} ${version} is not gone`] : []
  })
}

/** Every stored snapshot equals the replay, and a deleted stream has no state. */
const snapshotProblems = (histories: ReadonlyMap<string, History>) =>
  Effect.gen(function*() {
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
    const missing: Array<string> = []
    let last = 0
    for (const [stream, history] of histories) {
      const { events } = history
      last += events.length
      const end = events.at(-1)
      const loaded = yield* Effect.either(accounts.load(id(stream)))
      if (end?.type === "$deleted") {
        if (loaded._tag === "Right" || loaded.left._tag !== "StreamDeleted") {
          missing.push(`${stream} loads after its end`)
        }
        continue
      }
      const isGone = mayLose(placeOf(stream).slot) && events.some(({ amount }) => amount === undefined)
      const verified = yield* Effect.either(accounts.verify(id(stream)))
      if (isGone) {
        const isGap = verified._tag === "Left" && verified.left._tag === "HistoryGap"
        if (!isGap) missing.push(`${stream} verifies, although contents of its events are gone`)
      } else if (verified._tag === "Left") missing.push(`${stream} does not verify: ${verified.left.message}`)
      const sum = isGone
        ? history.isKnown ? balanceAt(history, events.length) : undefined
        : events.reduce((sum, { amount = NaN }) => sum + amount, 0)
      if (loaded._tag === "Left") missing.push(`${stream} does not load: ${loaded.left.message}`)
      else if (sum !== undefined && loaded.right.state.balance !== sum) {
        missing.push(`${stream} loads with ${loaded.right.state.balance}, and its events have ${sum}`)
      }
    }
    return { last, missing }
  })
