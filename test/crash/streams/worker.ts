// executes, loads, holds, deletes and rewrites as fast as it can, and says of each what became of it, until it is killed
import type { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Option, Redacted, Schedule } from "effect"
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
import { eventId, type Orders, type Said } from "./protocol.js"

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
  const [, slot, generation] = /^s(\d+)\.(\d+)$/.exec(stream) ?? []
  generations.set(Number(slot), Math.max(generations.get(Number(slot)) ?? 0, Number(generation) + 1))
}

const stores: Layer.Layer<SqlClient.SqlClient, unknown> = orders.backend === "sqlite"
  ? Sqlite.layer(SqliteClient.layer, { filename: orders.target, synchronous: "NORMAL" })
  : PgClient.layer({ url: Redacted.make(orders.target), maxConnections: 6 })

/** What may fail if the database is busy, a server ends a connection, or a race is lost. */
const passing = new Set(["EventStoreError", "SnapshotStoreError", "VersionConflict", "StreamNotFound", "EventNotFound"])

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
      } else if (
        Option.isSome(tag) && (passing.has(tag.value) || (what === "rewrite" && tag.value === "EventDecodeError"))
      ) {
        say({ _tag: "Failed", what, error: Cause.pretty(exit.cause).slice(0, 300) })
      } else if (!Option.contains(tag, "NotOpen")) say({ _tag: "Bad", problem: `${what}: ${Cause.pretty(exit.cause)}` })
      return failure
    })
  })

let commands = 0
let amounts = 0

type Execute = Repository.Repository<typeof Account>["execute"]

/** Executes a command whose events have ids by which the check knows it. */
const execute = (what: string, stream: string, run: (command: Parameters<Execute>[1]) => ReturnType<Execute>) => {
  const named = (command: Parameters<Execute>[1]) => {
    const name = `${orders.name}.${++commands}`
    let n = 0
    return told(
      what,
      stream,
      Effect.provideService(run(command), Event.IdGenerator, Effect.sync(() => eventId(name, ++n))),
      ({ events, version }, span): Said => ({
        _tag: "Executed",
        command: name,
        version,
        events: events.length,
        ...span
      })
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
    return execute("execute", stream, (command) => repository.execute(id(stream), command))
  })
  const loading = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    const repository = below(3) === 0 ? plain : cached
    return told("load", stream, repository.load(id(stream)), ({ state, version }, span): Said => ({
      _tag: "Loaded",
      version,
      balance: state.balance,
      ...span
    }))
  })
  // a writer holds its state for some commands, while others append, delete and rewrite
  const holding = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    return Effect.scoped(Effect.flatMap(cached.hold(id(stream)), (writer) =>
      Effect.repeatN(
        Effect.zipRight(execute("hold", stream, (command) => writer.execute(command)), Effect.sleep(below(20))),
        8
      )))
  })
  const changing = Effect.suspend(() => {
    const stream = streamOf(slotOf())
    const of = StreamId.make("Account", stream)
    const kind = below(8) === 0 ? "delete" : "rewrite"
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
    loop(changing, () => 20 + below(100))
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
