import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import {
  Cause,
  Chunk,
  Clock,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Option,
  Order,
  Scope,
  Stream
} from "effect"
import type * as Library from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import { Forced } from "../../src/internal/sql/appendGroups.js"
import { makeRecorder } from "./recorder.js"
import type { Report, Subject } from "./simulation.js"
import type { Database } from "./transactions.js"
import { Dice, run } from "./virtual.js"

/** One append of the program, and its result. */
interface Call {
  readonly name: string
  readonly burst: number
  readonly stream: string
  readonly ids: ReadonlyArray<string>
  readonly expected: Library.ExpectedVersion.ExpectedVersion
  readonly size: number
  /** Milliseconds after which the caller interrupts the append. */
  readonly interrupted: number | undefined
  /** Whether no other append has one of these ids. */
  fresh: boolean
  /** Its place among all appends. */
  arrived: number
  exit: Exit.Exit<Library.EventStore.AppendResult, Effect.Effect.Error<Append>> | undefined
  /** Whether the events were stored when the interruption had ended. */
  storedThen: boolean | undefined
  /** The transaction that held the connection when the append arrived, and still when the interruption had ended. */
  heldUp: number
}

type Append = ReturnType<Library.EventStore.EventStore["Type"]["append"]>

/** A database whose triggers refuse the events of streams that end with "bad", and undo the transaction at "worse". */
export interface GroupsDatabase extends Database {
  readonly prepare: Effect.Effect<unknown, unknown, SqlClient.SqlClient>
}

export const sqliteInMemory: GroupsDatabase = {
  dialect: "sqlite",
  client: (subject, faulty) =>
    subject.Sqlite.layer((config: SqliteClient.SqliteClientConfig) => faulty(SqliteClient.layer(config)), {
      filename: ":memory:"
    }),
  prepare: Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      Effect.forEach(
        [["bad", "ABORT"], ["worse", "ROLLBACK"]],
        ([stream, action]) =>
          sql.unsafe(
            `CREATE TRIGGER ${stream} BEFORE INSERT ON eventsourcing_events WHEN NEW.stream_id LIKE '%-${stream}'
BEGIN SELECT RAISE(${action}, 'refused'); END`
          )
      )
  )
}

/**
 * Fibers that append to a few streams at once, so that groups form: with conflicts, repeats, reused ids, refused events,
 * interruptions, and statements that fail. Every append must have its own result.
 */
export const simulateGroups = (subject: Subject, seed: number): Report => {
  const { judged, program, schedule } = prepare(subject, seed, sqliteInMemory)
  const outcome = run(schedule, () => program)
  return judged(outcome._tag === "Deadlock" ? "everything waits, and nothing will happen" : outcome.exit)
}

/** The same on a server, whose statements take real time. */
export const simulateGroupsOn = async (subject: Subject, seed: number, database: GroupsDatabase): Promise<Report> => {
  const { judged, program } = prepare(subject, seed, database)
  return judged(await Effect.runPromiseExit(program))
}

const prepare = (subject: Subject, seed: number, database: GroupsDatabase) => {
  const dice = new Dice(seed)
  const { count, counts, report, trace, wrong } = makeRecorder()
  const sqlite = database.dialect === "sqlite"
  const forced = dice.chance(0.7)
  // appends of one burst to one stream keep their order, unless something fails and is tried again
  const quiet = dice.chance(0.4)
  const settings: Settings = {
    sqlite,
    streams: ["a", "b", "c", ...(quiet ? [] : ["bad", ...(sqlite ? ["worse"] : [])])].map((name) => `${seed}-${name}`),
    repeats: sqlite || !quiet,
    size: sqlite && dice.chance(0.15) ? 74_000 : 10,
    holds: sqlite && dice.chance(0.4),
    arrivals: { last: 0 },
    held: { now: 0, last: 0 }
  }
  let armed = false
  const program = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      Layer.provideMerge(
        Layer.provide(subject.SqlStores.layer, Layer.succeed(Forced, forced)),
        database.client(
          subject,
          SqlFaults.layer(faults(new Dice(dice.seed()), quiet ? 0 : dice.oneOf([0, 0.1, 0.4]), {
            count,
            isArmed: () => armed
          }))
        )
      ),
      scope
    )
    yield* Effect.provide(database.prepare, context)
    armed = true
    const events = Context.get(context, subject.EventStore.EventStore)
    const client = Context.get(context, SqlClient.SqlClient)
    trace.push(`${forced ? "forced" : "not forced"}, ${quiet ? "quiet" : "with faults"}`)
    const calls: Array<Call> = []
    const head = new Map<string, number>()
    const own = Array.from({ length: dice.between(1, 2) }, () => new Dice(dice.seed()))
    yield* Effect.forEach(
      own,
      (dice, index) => bursts({ subject, dice, settings, calls, head, events, client, trace, count, wrong, index }),
      { concurrency: "unbounded", discard: true }
    )
    const ordered = quiet && (sqlite || (forced && counts["alone on a server"] === undefined))
    yield* check({ subject, settings, calls, events, wrong, ordered })
    yield* Scope.close(scope, Exit.void)
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None), Effect.orDie)
  return {
    program,
    schedule: dice.seed(),
    judged: (outcome: Exit.Exit<void> | string): Report => {
      if (typeof outcome === "string") wrong(outcome)
      else if (Exit.isFailure(outcome)) wrong(`the program died: ${Cause.pretty(outcome.cause)}`)
      return report()
    }
  }
}

interface Settings {
  readonly sqlite: boolean
  readonly streams: ReadonlyArray<string>
  /** Whether some events have ids that were used before. They fail a whole group on PostgreSQL. */
  readonly repeats: boolean
  /** The length of some payloads. Three of them weigh less than a quarter of a group. */
  readonly size: number
  /** Whether a transaction of the program holds the connection for a while. */
  readonly holds: boolean
  readonly arrivals: { last: number }
  /** The number of the transaction that holds the connection now, or 0. */
  readonly held: { now: number; last: number }
}

/** Only statements of groups fail: afterwards each append is sent alone, and must succeed. */
const faults = (dice: Dice, rate: number, { count, isArmed }: {
  readonly count: (name: string) => void
  /** Whether the tables are there. */
  readonly isArmed: () => boolean
}): SqlFaults.Plan => ({
  start: () => ({ kind, text, transaction }) => {
    const isServer = /append_many/.test(text)
    // where every append is in a group, one that is sent alone was in a group that failed
    if (/append_\d/.test(text)) count("alone on a server")
    if (!isArmed() || !isServer && !(kind === "Other" && transaction !== undefined)) return undefined
    count("statements of groups")
    if (!dice.chance(rate)) return undefined
    count("faults")
    return dice.oneOf(isServer ? ofServer : [SqlFaults.fail, SqlFaults.abort])
  }
})

const ofServer: ReadonlyArray<SqlFaults.Fault> = [
  ...["40001", "40P01", "57014", "55P03"].map(SqlFaults.failWith),
  SqlFaults.disconnect,
  SqlFaults.lostAnswer,
  SqlFaults.delay("15 millis")
]

interface Client {
  readonly subject: Subject
  readonly dice: Dice
  readonly settings: Settings
  readonly calls: Array<Call>
  /** The versions that the streams will have if no append fails. */
  readonly head: Map<string, number>
  readonly events: Library.EventStore.EventStore["Type"]
  readonly client: SqlClient.SqlClient
  readonly trace: Array<string>
  readonly count: (name: string) => void
  readonly wrong: (problem: string) => void
  readonly index: number
}

/** A few bursts of appends, one after the other. */
const bursts = (client: Client): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { dice, settings } = client
    for (let n = dice.between(2, 5); n > 0; n--) {
      const burst = client.index * 100 + n
      const drawn = Array.from({ length: dice.between(1, 9) }, (_, place) => draw(client, burst, place))
      const holding = settings.holds && dice.chance(0.5)
        ? yield* Effect.fork(Effect.orDie(client.client.withTransaction(hold(settings.held))))
        : undefined
      if (holding !== undefined && dice.chance(0.8)) yield* Effect.sleep("1 millis")
      yield* Effect.forEach(drawn, (call) => execute(client, call), { concurrency: "unbounded", discard: true })
      if (holding !== undefined) yield* Fiber.join(holding)
    }
  })

const hold = (held: Settings["held"]): Effect.Effect<void> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      held.now = ++held.last
    }),
    () => Effect.sleep("50 millis"),
    () =>
      Effect.sync(() => {
        held.now = 0
      })
  )

const draw = (
  { calls, dice, head, index, settings, subject: { ExpectedVersion } }: Client,
  burst: number,
  n: number
) => {
  const name = `${settings.streams[0]}.${index}.${burst}.${n}`
  const earlier = settings.repeats && calls.length > 0 && dice.chance(0.15) ? dice.oneOf(calls) : undefined
  const stream = earlier !== undefined && dice.chance(0.6) ? earlier.stream : dice.oneOf(settings.streams)
  const ids = earlier?.ids ?? Array.from({ length: dice.oneOf([1, 1, 2, 3]) }, (_, place) => `${name}#${place}`)
  if (earlier !== undefined) earlier.fresh = false
  const before = head.get(stream) ?? 0
  const expected = dice.oneOf([
    ExpectedVersion.any,
    ExpectedVersion.any,
    ExpectedVersion.any,
    ExpectedVersion.exact(before),
    ExpectedVersion.exact(before),
    ExpectedVersion.exact(before + dice.between(1, 3)),
    ExpectedVersion.noStream,
    ExpectedVersion.streamExists
  ])
  if (earlier === undefined && /any|Exact/i.test(expected._tag)) head.set(stream, before + ids.length)
  const call: Call = {
    name,
    burst,
    stream,
    ids,
    expected,
    size: dice.chance(0.5) ? settings.size : 10,
    interrupted: dice.chance(0.2) ? dice.oneOf([0, 0, 2, 20]) : undefined,
    fresh: earlier === undefined,
    arrived: 0,
    exit: undefined,
    storedThen: undefined,
    heldUp: 0
  }
  calls.push(call)
  return call
}

const execute = ({ count, events, settings, subject, trace, wrong }: Client, call: Call): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { expected, ids, interrupted, name, size, stream } = call
    const payload = "x".repeat(size)
    const append = Effect.suspend(() => {
      call.arrived = ++settings.arrivals.last
      call.heldUp = settings.held.now
      return events.append(
        subject.StreamId.make("Ledger", stream),
        ids.map((id) => ({ id, type: "Added", payload })),
        { expectedVersion: expected }
      )
    })
    const fiber = yield* Effect.fork(append)
    if (interrupted === undefined) {
      const ended = settings.sqlite
        ? Fiber.await(fiber)
        : Effect.timeoutTo(Fiber.await(fiber), {
          duration: "20 seconds",
          onSuccess: (exit) => exit,
          onTimeout: () => undefined
        })
      call.exit = yield* ended
      if (call.exit === undefined) wrong(`${name} does not end`)
    } else {
      if (interrupted > 0) yield* Effect.sleep(interrupted)
      const began = yield* Clock.currentTimeMillis
      call.exit = yield* Fiber.interrupt(fiber)
      const took = (yield* Clock.currentTimeMillis) - began
      if (settings.held.now !== call.heldUp) call.heldUp = 0
      // the statements of SQLite take no time on the clock of the simulation
      if (settings.sqlite && took > 0) wrong(`the interruption of ${name} took ${took} ms`)
      const found = yield* Effect.orDie(events.find(ids))
      call.storedThen = found.length > 0
    }
    const told = call.exit === undefined
      ? "nothing"
      : Exit.match(call.exit, {
        onSuccess: ({ duplicate, version }) => `${duplicate ? "repeat" : "stored"} ${version}`,
        onFailure: (cause) =>
          Option.match(Cause.failureOption(cause), {
            onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "died",
            onSome: (error) => error._tag
          })
      })
    trace.push(`${name} ${expected._tag} on ${stream}: ${told}`)
    count(told.split(" ")[0])
  })

interface Checked extends Pick<Client, "subject" | "settings" | "calls" | "events" | "wrong"> {
  /** Whether appends of a burst to one stream keep their order. */
  readonly ordered: boolean
}

const check = (checked: Checked): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    const { calls, events, settings, subject, wrong } = checked
    const stored = new Map<string, ReadonlyArray<string>>()
    const proposed = new Set(calls.flatMap(({ ids }) => ids))
    const seen = new Set<string>()
    for (const stream of settings.streams) {
      const read = Chunk.toReadonlyArray(
        yield* Stream.runCollect(events.read(subject.StreamId.make("Ledger", stream)))
      )
      stored.set(stream, read.map(({ id }) => id))
      for (const [index, { id, version }] of read.entries()) {
        if (version !== index + 1) wrong(`${stream} has version ${version} in place ${index + 1}`)
        if (!proposed.has(id)) wrong(`${id} was stored, and no append had it`)
        if (seen.has(id)) wrong(`${id} is stored twice`)
        seen.add(id)
      }
    }
    const positions = new Map<string, Library.Position.Position>()
    if (seen.size > 0) {
      for (const { eventId, position } of yield* events.find(Array.from(seen))) {
        if (position !== undefined) positions.set(eventId, position)
      }
    }
    for (const call of calls) checkCall(checked, call, stored, seen, positions)
    if (checked.ordered) checkOrder(checked, stored)
  })

const checkCall = (
  { settings, subject, wrong }: Checked,
  { exit, expected, fresh, heldUp, ids, name, storedThen, stream }: Call,
  stored: ReadonlyMap<string, ReadonlyArray<string>>,
  seen: ReadonlySet<string>,
  positions: ReadonlyMap<string, Library.Position.Position>
): void => {
  const there = ids.filter((id) => seen.has(id)).length
  if (there !== 0 && there !== ids.length) wrong(`${name} was stored in part`)
  if (exit === undefined) return
  const { max, min } = subject.ExpectedVersion.bounds(expected)
  if (Exit.isSuccess(exit)) {
    const { duplicate, position, version } = exit.value
    const first = version - ids.length
    if (ids.some((id, index) => stored.get(stream)?.[first + index] !== id)) {
      wrong(`${name} was acknowledged as ${version} of ${stream} and is not there`)
    }
    if (fresh && duplicate) {
      // only on a server an answer is lost
      if (settings.sqlite) wrong(`${name} was told to be a repeat`)
    } else if (fresh && (first < min || first > max)) {
      wrong(`${name} was acknowledged at ${version}, and expected ${expected._tag}`)
    }
    const last = positions.get(ids[ids.length - 1])
    if (last !== Option.getOrUndefined(position)) {
      wrong(`${name} was told position ${String(Option.getOrUndefined(position))}, and has ${last}`)
    }
    return
  }
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) {
    if (!Cause.isInterruptedOnly(exit.cause)) return wrong(`${name} died with ${Cause.pretty(exit.cause)}`)
    if (storedThen === undefined) return wrong(`${name} was interrupted by nobody`)
    // on a server the statement of an append may still be in progress
    if (settings.sqlite && fresh && (!storedThen || heldUp > 0) && there > 0) {
      wrong(`${name} was interrupted, and sent after that`)
    }
    return
  }
  const error = failure.value
  switch (error._tag) {
    case "VersionConflict":
      if (fresh && error.actual >= min && error.actual <= max) {
        wrong(`${name} was refused at version ${error.actual}, and expected ${expected._tag}`)
      }
      if (error.actual > (stored.get(stream)?.length ?? 0)) wrong(`${name} was told a version that ${stream} never had`)
      break
    case "DuplicateEventId":
      if (!ids.includes(error.eventId) || !seen.has(error.eventId)) {
        wrong(`${name} was told that ${error.eventId} is stored`)
      }
      break
    default:
      // the triggers refuse these
      if (!/-(bad|worse)$/.test(stream)) wrong(`${name} failed with ${error.message}`)
  }
  if (fresh && there > 0) wrong(`${name} failed with ${error._tag} and is there`)
}

const checkOrder = ({ calls, wrong }: Checked, stored: ReadonlyMap<string, ReadonlyArray<string>>): void => {
  const plain = calls.filter(({ exit, expected, fresh, interrupted }) =>
    fresh && interrupted === undefined && expected._tag === "Any" && exit !== undefined && Exit.isSuccess(exit)
  )
  const place = ({ ids, stream }: Call) => stored.get(stream)?.indexOf(ids[0]) ?? -1
  const byArrival = [...plain].sort(Order.mapInput(Order.number, (call: Call) => call.arrived))
  for (const [index, call] of byArrival.entries()) {
    const later = byArrival.slice(index + 1).find((other) =>
      other.burst === call.burst && other.stream === call.stream && place(other) < place(call)
    )
    if (later !== undefined) wrong(`${later.name} arrived after ${call.name}, and is before it in ${call.stream}`)
  }
}
