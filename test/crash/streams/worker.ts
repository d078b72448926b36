// executes, loads, holds, deletes, rewrites and truncates as fast as it can, and says of each what became of it, until it is killed
import type { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Option, Redacted, Schedule, Stream } from "effect"
import {
  Event,
  Projection,
  Repository,
  SnapshotPolicy,
  Sqlite,
  SqlStores,
  StreamId,
  Streams
} from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import * as fs from "node:fs"
import * as readline from "node:readline"
import { Account, id } from "../../fixtures/Account.js"
import { createLedger, Ledger } from "./ledger.js"
import { eventId, mayLose, type Orders, placeOf, type Said } from "./protocol.js"

const orders: Orders = JSON.parse(process.argv[2])

// straight into the pipe: what is said is out before anything else happens
const say = (line: Said) => fs.writeSync(1, `${JSON.stringify(line)}\n`)

/** The clock of the machine: all of its processes read the same. */
const now = () => Number(process.hrtime.bigint()) / 1e6

let paused = false
let busy = 0
readline.createInterface({ input: process.stdin })
  .on("line", () => {
    paused = true
    if (busy === 0) say({ _tag: "Paused" })
  })
  // the parent is gone
  .on("close", () => process.exit(0))

const random = new PCGRandom(orders.seed)
const below = (n: number) => Math.floor(random.number() * n)

// a slot has a stream until that is deleted, and then the next one
const generations = new Map<number, number>()
const slotOf = () => below(2) === 0 ? below(2) : below(orders.slots)
const streamOf = (slot: number) => `s${slot}.${generations.get(slot) ?? 0}`
const ended = (stream: string) => {
  const { generation, slot } = placeOf(stream)
  generations.set(slot, Math.max(generations.get(slot) ?? 0, generation + 1))
}

const stores: Layer.Layer<SqlClient.SqlClient, unknown> = orders.backend === "sqlite"
  ? Sqlite.layer(SqliteClient.layer, { filename: orders.target, synchronous: "NORMAL" })
  : PgClient.layer({ url: Redacted.make(orders.target), maxConnections: 6 })

/** What may fail if the database is busy, a server ends a connection, or a race is lost. */
const passing = new Set(["EventStoreError", "SnapshotStoreError", "VersionConflict", "StreamNotFound", "EventNotFound"])

/** What may fail because of a change of the history. The check asks whether there was one. */
const mayMiss = new Set(["rewrite", "history"])

/** A snapshot may be deleted by a rewrite, or be overtaken by another one, but it never differs from the history. */
const isPassing = (what: string, error: { readonly _tag: string; readonly reason?: unknown }): boolean =>
  passing.has(error._tag) || (what === "rewrite" && error._tag === "EventDecodeError") ||
  (error._tag === "SnapshotRequired" && error.reason !== "Refuted")

/** Runs an operation and says what became of it. */
const told = <A, E extends { readonly _tag: string; readonly message: string }, R>(
  what: string,
  stream: string,
  operation: Effect.Effect<A, E, R>,
  said: (result: A, span: { readonly stream: string; readonly began: number; readonly ended: number }) => Said
): Effect.Effect<Option.Option<E>, never, R> =>
  Effect.suspend(() => {
    const began = now()
    return Effect.map(Effect.exit(operation), (exit) => {
      const span = { stream, began, ended: now() }
      if (Exit.isSuccess(exit)) {
        say(said(exit.value, span))
        return Option.none()
      }
      const failure = Cause.failureOption(exit.cause)
      const tag = Option.map(failure, ({ _tag }) => _tag)
      if (Option.contains(tag, "StreamDeleted")) {
        ended(stream)
        say({ _tag: "Refused", what, ...span })
      } else if (Option.contains(tag, "HistoryGap") && mayMiss.has(what)) {
        say({ _tag: "Gapped", what, ...span })
      } else if (Option.isSome(failure) && isPassing(what, failure.value)) {
        say({ _tag: "Failed", what, error: Cause.pretty(exit.cause).slice(0, 300) })
      } else if (!Option.contains(tag, "NotOpen")) say({ _tag: "Bad", problem: `${what}: ${Cause.pretty(exit.cause)}` })
      return failure
    })
  })

let commands = 0
let amounts = 0

type Execute = Repository.Repository<typeof Account>["execute"]
type Input = [command: Parameters<Execute>[1], options: { readonly commandId?: string }]

/** Commands that succeeded with a command id. */
const repeatable: Array<{ readonly stream: string; readonly name: string; readonly times: number }> = []

/** Executes a command whose events have ids by which the check knows it. */
const execute = (what: string, stream: string, run: (...input: Input) => ReturnType<Execute>) => {
  const named = (command: Input[0]) => {
    const hasId = below(3) === 0
    const name = `${orders.name}.${++commands}`
    let n = 0
    return told(
      what,
      stream,
      Effect.provideService(
        run(command, hasId ? { commandId: name } : {}),
        Event.IdGenerator,
        Effect.sync(() => eventId(name, ++n))
      ),
      ({ events, version }, span): Said => {
        if (hasId && command._tag === "Deposit") {
          const known = { stream, name, times: command.times ?? 1 }
          repeatable[repeatable.length < 200 ? repeatable.length : below(200)] = known
        }
        return { _tag: "Executed", command: name, version, events: events.length, ...span }
      }
    )
  }
  return Effect.flatMap(
    named({ _tag: "Deposit", amount: 1, times: 1 + below(2) }),
    (failure) => Option.isSome(failure) && failure.value._tag === "NotOpen" ? named({ _tag: "Open" }) : Effect.void
  )
}

const program = Effect.gen(function*() {
  const cached = yield* Repository.make(Account, {
    snapshots: SnapshotPolicy.background({ every: 5 }),
    cache: { capacity: 100 }
  })
  const plain = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 7 }) })
  const streams = yield* Streams.Streams

  const commanding = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    const repository = below(3) === 0 ? plain : cached
    return execute("execute", stream, (command, options) => repository.execute(id(stream), command, options))
  })
  const repeating = Effect.suspend(() => {
    if (repeatable.length === 0) return Effect.void
    const { name, stream, times } = repeatable[below(repeatable.length)]
    const repository = below(3) === 0 ? plain : cached
    const again = repository.execute(id(stream), { _tag: "Deposit", amount: 1, times }, { commandId: name })
    return told("repeat", stream, again, ({ duplicate, version }, span): Said => ({
      _tag: "Repeated",
      command: name,
      version,
      duplicate,
      ...span
    }))
  })
  const loading = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    if (below(8) === 0) return reading(stream)
    const repository = below(3) === 0 ? plain : cached
    return told("load", stream, repository.load(id(stream)), ({ state, version }, span): Said => ({
      _tag: "Loaded",
      version,
      balance: state.balance,
      ...span
    }))
  })
  // a state that comes from the events only
  const reading = (stream: string) =>
    told(
      "history",
      stream,
      Stream.runFold(plain.history(id(stream)), { version: 0, balance: 0 }, ({ balance }, event) => ({
        version: event.version,
        balance: balance + (event._tag === "Event" && event.event._tag === "Deposited" ? event.event.amount : 0)
      })),
      (read, span): Said => ({ _tag: "Loaded", ...read, ...span })
    )
  // a writer holds its state for some commands, while others append, delete and rewrite
  const holding = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    return Effect.scoped(Effect.flatMap(cached.hold(id(stream)), (writer) =>
      Effect.repeatN(
        Effect.zipRight(execute("hold", stream, (...input) => writer.execute(...input)), Effect.sleep(below(20))),
        8
      )))
  })
  const changing = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    const of = StreamId.make("Account", stream)
    const roll = below(16)
    const kind = roll === 0 ? "delete" : roll < 8 ? "truncate" : "rewrite"
    if (kind === "truncate") return truncating(stream)
    say({ _tag: "Changing", stream, kind, began: now() })
    if (kind === "delete") {
      const removes = below(2) === 0
      const deletion = streams.delete(of, { events: removes ? "remove" : "keep" })
      return told("delete", stream, deletion, ({ version }, span): Said => {
        ended(stream)
        return { _tag: "Deleted", version, removes, ...span }
      })
    }
    return Effect.flatMap(Effect.option(plain.load(id(stream))), (loaded) => {
      if (Option.isNone(loaded) || loaded.value.version < 3) return Effect.void
      // what the check does not know as a deposit is a marker or the opening
      const target = 2 + below(loaded.value.version - 1)
      const amount = 1_000 + 1_000 * below(1_000) + (++amounts % 1_000)
      const rewriting = streams.rewrite(of, target, { _tag: "Deposited", amount }, { aggregate: Account })
      return told("rewrite", stream, rewriting, ({ marker }, span): Said => ({
        _tag: "Rewritten",
        target,
        amount,
        version: marker,
        ...span
      }))
    })
  })

  const truncating = (stream: string) =>
    Effect.gen(function*() {
      // a truncation without a snapshot fails, and that is said too
      const taken = below(4) === 0 ? Option.none() : yield* Effect.option(plain.createSnapshot(id(stream)))
      const version = Option.match(taken, { onNone: () => 6, onSome: ({ snapshot }) => snapshot.version })
      const before = 2 + below(version)
      const removes = mayLose(placeOf(stream).slot) && below(2) === 0
      say({ _tag: "Changing", stream, kind: "truncate", began: now(), before, removes })
      const truncation = streams.truncate(StreamId.make("Account", stream), {
        aggregate: Account,
        before,
        events: removes ? "remove" : "archive",
        unverified: mayLose(placeOf(stream).slot)
      })
      yield* told("truncate", stream, truncation, ({ marker }, span): Said => ({
        _tag: "Truncated",
        before,
        removes,
        version: Option.match(marker, { onNone: () => 0, onSome: ({ version }) => version }),
        ...span
      }))
    })

  const loop = <E, R>(turn: Effect.Effect<unknown, E, R>, pause: () => number) =>
    Effect.suspend(() => {
      if (paused) return Effect.sleep("20 millis")
      busy++
      return Effect.ensuring(
        turn,
        Effect.sync(() => {
          busy--
          if (busy === 0 && paused) say({ _tag: "Paused" })
        })
      ).pipe(Effect.zipRight(Effect.sleep(pause())))
    }).pipe(Effect.forever)

  say({ _tag: "Ready" })
  yield* Effect.all([
    ...[1, 2, 3].map(() => loop(commanding, () => below(10))),
    ...[1, 2].map(() => loop(loading, () => below(10))),
    ...[1, 2].map(() => loop(holding, () => below(10))),
    loop(repeating, () => 20 + below(100)),
    loop(changing, () => below(40))
  ], { concurrency: "unbounded" })
})

const live = Projection.layer(Ledger, { partitions: 2, lease: "1 second", maxDelay: "50 millis" }).pipe(
  Layer.provideMerge(SqlStores.layer),
  Layer.provideMerge(Layer.effectDiscard(createLedger)),
  Layer.provideMerge(stores)
)

Effect.runFork(
  Effect.provide(Effect.scoped(program), live).pipe(
    Effect.retry({ schedule: Schedule.spaced("50 millis"), while: (error) => String(error).includes("busy") }),
    Effect.tapErrorCause((cause) => Effect.sync(() => say({ _tag: "Bad", problem: Cause.pretty(cause) }))),
    Logger.withMinimumLogLevel(LogLevel.None)
  )
)
