// compares what the workers said with each other, and with what is stored when they have ended
import { Chunk, Effect, Stream } from "effect"
import { EventStore, Projections, Repository, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import { Account, id } from "../../fixtures/Account.js"
import { readLedger } from "./ledger.js"
import type { Said } from "./protocol.js"

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

interface History {
  /** The versions of the stored events and their types, without those that were removed. */
  readonly events: ReadonlyArray<
    { readonly id: string; readonly version: number; readonly type: string; readonly amount: number }
  >
  readonly rewrites: ReadonlyArray<Rewrite>
  /** Whether all rewrites are known: what a killed worker did in a removed stream is not. */
  readonly isKnown: boolean
}

/** The balance of a stream at a version: each deposit is of 1, if it was not rewritten up to there. */
const balanceAt = ({ rewrites }: History, version: number): number | undefined => {
  const amounts = new Map<number, number | undefined>()
  const before = rewrites.filter(({ marker }) => marker <= version).sort((a, b) => a.marker - b.marker)
  for (const { amount, target } of before) amounts.set(target, amount)
  let sum = Math.max(0, version - 1) - before.length - amounts.size
  for (const amount of amounts.values()) {
    if (amount === undefined) return undefined
    sum += amount
  }
  return sum
}

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
  for (const [stream, loads] of byStream(tagged(said, "Loaded"))) {
    const history = histories.get(stream)
    const known = [...(executed.get(stream) ?? []), ...(rewritten.get(stream) ?? [])]
    for (const { balance, began, version } of loads) {
      const least = Math.max(0, ...known.filter(({ ended }) => ended < began).map(({ version }) => version))
      if (version < least) problems.push(`a load of ${stream} gave ${version} after ${least} was acknowledged`)
      const end = deleted.get(stream)?.find(({ ended }) => ended < began)
      if (end !== undefined) problems.push(`a load of ${stream} gave ${version} after it was deleted at ${end.version}`)
      if (history === undefined || !history.isKnown) continue
      const expected = balanceAt(history, version)
      if (expected !== undefined && expected !== balance) {
        problems.push(`a load of ${stream} at ${version} gave ${balance}, and not ${expected}`)
      }
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

const collect = <A, E, R>(elements: Stream.Stream<A, E, R>) =>
  Effect.map(Stream.runCollect(elements), Chunk.toReadonlyArray)

const field = (payload: unknown, name: string): number => Number(Reflect.get(Object(payload), name))

/** The history of a stream: from the store, and, if its events were removed, from what was said. */
const historyOf = (said: ReadonlyArray<Said>, stream: string) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const stored = yield* collect(store.read(StreamId.make("Account", stream)))
    const events = stored.map(({ id, payload, type, version }) => ({
      id,
      version,
      type,
      amount: type === "Deposited" ? field(payload, "amount") : 0
    }))
    const acknowledged = tagged(said, "Rewritten").filter((line) => line.stream === stream)
    if (events.at(0)?.version !== 1) {
      const begun = tagged(said, "Changing").filter((line) => line.stream === stream && line.kind === "rewrite")
      // one that failed is begun, and not acknowledged
      const isKnown = begun.length === acknowledged.length
      const rewrites = acknowledged.map(({ amount, target, version }) => ({ marker: version, target, amount }))
      return { events, rewrites, isKnown }
    }
    const markers = stored.filter(({ type }) => type === "$rewritten")
    const rewrites = markers.map(({ payload, version }): Rewrite => {
      const target = field(payload, "version")
      const told = acknowledged.find((line) => line.version === version)?.amount
      // the amount of the last one is stored
      const isLast = !markers.some((other) => other.version > version && field(other.payload, "version") === target)
      return { marker: version, target, amount: told ?? (isLast ? events[target - 1]?.amount : undefined) }
    })
    return { events, rewrites, isKnown: true }
  })

/** Checks everything, after all workers have ended. The ledger must follow the feed meanwhile. */
export const check = (book: Book) =>
  Effect.gen(function*() {
    const { problems, said } = book
    const store = yield* EventStore.EventStore
    const streams = new Set(said.flatMap((line) => "stream" in line ? [line.stream] : []))
    const histories = new Map<string, History>()
    for (const stream of streams) histories.set(stream, yield* historyOf(said, stream))
    problems.push(...checkOrder(said, histories))
    for (const [stream, history] of histories) problems.push(...checkStored(said, stream, history))
    const { last, missing } = yield* snapshotProblems(histories)
    problems.push(...missing)
    yield* Projections.awaitPosition("ledger", yield* store.head, { timeout: "1 minute" })
    const ledger = yield* readLedger
    for (const [stream, { events }] of histories) {
      const isDeleted = events.at(-1)?.type === "$deleted"
      for (const { amount, type, version } of isDeleted ? [] : events) {
        if (type !== "Deposited") continue
        const found = ledger.get(`${stream} ${version}`)
        if (found !== amount) problems.push(`the ledger has ${found} for ${stream} ${version}, and not ${amount}`)
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
    const isThere = at.get(line.version)?.startsWith(`${line.command}#`)
    if (line.stream !== stream || line.events === 0 || isThere === true) continue
    problems.push(`${line.command} was acknowledged as ${stream} ${line.version}, where ${at.get(line.version)} is`)
  }
  for (const line of tagged(said, "Rewritten")) {
    if (line.stream !== stream) continue
    const marker = events[line.version - 1]
    if (marker?.type !== "$rewritten") {
      problems.push(`the rewrite of ${stream} ${line.target} has no marker at ${line.version}`)
    }
  }
  return problems
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
      const verified = yield* Effect.either(accounts.verify(id(stream)))
      if (verified._tag === "Left") missing.push(`${stream} does not verify: ${verified.left.message}`)
      const sum = events.reduce((sum, { amount }) => sum + amount, 0)
      if (loaded._tag === "Left") missing.push(`${stream} does not load: ${loaded.left.message}`)
      else if (loaded.right.state.balance !== sum) {
        missing.push(`${stream} loads with ${loaded.right.state.balance}, and its events have ${sum}`)
      }
    }
    return { last, missing }
  })
