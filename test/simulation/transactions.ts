import { SqlClient } from "@effect/sql"
import {
  Cause,
  Chunk,
  Context,
  Effect,
  Either,
  Exit,
  Fiber,
  FiberRef,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schedule,
  Scope,
  Stream
} from "effect"
import type * as Library from "effect-eventsourcing"
import { SqlFaults } from "effect-eventsourcing/testing"
import { Forced } from "../../src/internal/sql/appendGroups.js"
import { makeRecorder } from "./recorder.js"
import {
  evolve,
  initial,
  type Ledger,
  ledger,
  type Report,
  type Subject,
  type Version,
  versions
} from "./simulation.js"
import { isOfSnapshot } from "./sweep.js"
import { Dice } from "./virtual.js"

/** A real database. */
export interface Database {
  readonly dialect: "sqlite" | "postgres"
  /** The client of a program, whose statements meet faults below the library. */
  readonly client: (
    subject: Subject,
    faulty: <A, E, R>(
      driver: Layer.Layer<A | SqlClient.SqlClient, E, R>
    ) => Layer.Layer<A | SqlClient.SqlClient, E | Library.InvalidOption.InvalidOption | unknown, R>
  ) => Layer.Layer<SqlClient.SqlClient, unknown>
}

/** One call of the program. What works in the background is not one. */
interface Doing {
  /** Says which statements of this call meet a fault: the same in each run of a seed, whatever the others do. */
  readonly dice: Dice
  readonly met: Array<{ readonly statement: SqlFaults.Statement; readonly fault: SqlFaults.Fault }>
  /** Whether the program holds a transaction of the driver's own open, which dies where its beginning or end fails. */
  readonly open: boolean
}

const doing = FiberRef.unsafeMake<Doing | undefined>(undefined)

const now = (): Doing | undefined =>
  Option.getOrUndefined(Option.map(Fiber.getCurrentFiber(), (fiber) => fiber.getFiberRef(doing)))

/** A command whose events must be there as they were told, if what it was part of succeeded. */
interface Told {
  readonly command: string
  readonly id: string
  readonly from: number
  readonly to: number
  readonly state: Ledger
}

type Outcome<A> = { readonly _tag: "Ok"; readonly value: A } | { readonly _tag: "Failed" | "GaveUp" | "Died" }

/** How long a caller waits, and how long it may take until the library lets go of it then. */
const patience = "500 millis"
const grace = "20 seconds"

/**
 * Whole programs on a real database whose statements fail: commands and loads outside and inside of transactions, in
 * nested ones, and in fibers that outlive them, while the caller swallows what failed and goes on.
 */
export const simulateTransactions = async (subject: Subject, seed: number, database: Database): Promise<Report> => {
  const dice = new Dice(seed)
  const { count, report, trace, wrong } = makeRecorder()
  const { Event, EventStore, Repository, SnapshotPolicy, SnapshotStore, StreamId } = subject
  const sqlite = database.dialect === "sqlite"
  const streams = ["a", "b"].map((name) => `${seed}-${name}`)
  const streamOf = (id: string) => StreamId.make("Ledger", id)

  const acknowledged: Array<Told> = []
  const refused = new Map<string, string>()
  /** Commands that are there together or not at all. */
  const together: Array<ReadonlyArray<Told>> = []

  // --- faults ------------------------------------------------------------------------

  let calm = true
  const rate = dice.oneOf([0, 0.05, 0.15, 0.3])
  const background = new Dice(dice.seed())
  const slow = [SqlFaults.delay("5 millis"), SqlFaults.delay("60 millis")]
  const refusing = [SqlFaults.fail, SqlFaults.timeout, SqlFaults.abort]
  // the statements of SQLite are synchronous: none of them hangs
  const usual = sqlite ? [...slow, ...refusing] : [...slow, ...refusing, SqlFaults.hang]
  const lost = [SqlFaults.disconnect, SqlFaults.lostAnswer]
  const busy = [SqlFaults.timeout]
  const faultsOf = ({ kind, text }: SqlFaults.Statement, open: boolean): ReadonlyArray<SqlFaults.Fault> => {
    // the driver dies where a savepoint or an end of its own fails
    if (kind === "Rollback" || /SAVEPOINT effect_sql/.test(text)) return []
    if (kind !== "Other") return sqlite ? busy : open ? slow : [...slow, ...refusing, ...lost]
    // a transaction without its savepoint is lost, and the driver's own does not say so
    if (/SAVEPOINT/.test(text)) return open ? slow : [...slow, ...refusing, ...lost]
    return sqlite || open ? usual : [...usual, ...lost]
  }
  const plan: SqlFaults.Plan = {
    start: () => (statement) => {
      if (calm) return undefined
      const current = now()
      const { dice } = current ?? { dice: background }
      // always two numbers
      const lot = dice.chance(rate)
      const which = dice.number(1_000)
      const faults = faultsOf(statement, current?.open === true)
      return lot && faults.length > 0 ? faults[which % faults.length] : undefined
    }
  }
  const onStatement = (statement: SqlFaults.Statement, fault: SqlFaults.Fault | undefined) => {
    if (fault === undefined) return
    count("faults")
    count(`fault ${fault._tag} ${statement.transaction === undefined ? "outside" : "inside"}`)
    trace.push(`fault ${fault._tag} at ${statement.n}: ${statement.text.replaceAll(/\s+/g, " ").slice(0, 100)}`)
    now()?.met.push({ statement, fault })
  }

  const program = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      Layer.provideMerge(
        // in half of the runs every append outside of a transaction is in a group
        Layer.provide(subject.SqlStores.layer, Layer.succeed(Forced, seed % 2 === 0)),
        database.client(subject, SqlFaults.layer(plan, { onStatement }))
      ),
      scope
    )
    const client = Context.get(context, SqlClient.SqlClient)
    const events = Context.get(context, EventStore.EventStore)
    const snapshots = Context.get(context, SnapshotStore.SnapshotStore)
    const version: Version = dice.oneOf(versions)
    const mode = dice.oneOf(["sync", "inline", "inline", "background", "manual"] as const)
    const every = dice.between(1, 3)
    trace.push(`version ${version}, ${mode} every ${every}, rate ${rate}`)
    const repository = yield* Repository.make(ledger(subject, version), {
      snapshots: mode === "manual"
        ? SnapshotPolicy.manual
        : mode === "background"
        ? SnapshotPolicy.background({ every, timeout: "200 millis", drainTimeout: "1 seconds" })
        : SnapshotPolicy[mode]({ every }),
      pageSize: dice.oneOf([2, 1_000]),
      snapshotTimeout: dice.oneOf(["30 millis", "1 seconds"] as const),
      snapshotOnLoad: dice.chance(0.5),
      cache: dice.chance(0.3) ? { capacity: 2 } : undefined,
      retry: Schedule.recurs(5)
    }).pipe(Effect.provide(context), Scope.extend(scope))

    // --- calls -----------------------------------------------------------------------

    /** Does it with a caller's patience, and judges how it ended. */
    const attempt = <A, E>(
      what: string,
      seed: number,
      effect: Effect.Effect<A, E>,
      options: { readonly open?: boolean | undefined; readonly transaction?: boolean | undefined } = {}
    ): Effect.Effect<{ readonly outcome: Outcome<A>; readonly error: unknown; readonly call: Doing }> =>
      Effect.suspend(() => {
        const call: Doing = { dice: new Dice(seed), met: [], open: options.open === true }
        return effect.pipe(
          Effect.timeoutOption(options.transaction === true ? "3 seconds" : patience),
          Effect.locally(doing, call),
          Effect.disconnect,
          Effect.timeoutOption(grace),
          Effect.exit,
          Effect.map((exit) => {
            const { error, outcome } = judge(what, exit, call, options.transaction === true)
            trace.push(`${what} ${outcome._tag}${error === undefined ? "" : ` ${String(error)}`}`)
            count(`${what.slice(0, what.indexOf(" "))} ${outcome._tag}`)
            return { outcome, error, call }
          })
        )
      })

    const judge = <A, E>(
      what: string,
      exit: Exit.Exit<Option.Option<Option.Option<A>>, E>,
      call: Doing,
      transaction: boolean
    ): { readonly outcome: Outcome<A>; readonly error: unknown } => {
      if (Exit.isSuccess(exit)) {
        if (Option.isNone(exit.value)) wrong(`${what} does not let go of its caller`)
        const value = Option.flatten(exit.value)
        return {
          outcome: Option.isSome(value) ? { _tag: "Ok", value: value.value } : { _tag: "GaveUp" },
          error: undefined
        }
      }
      const failure = Cause.failureOption(exit.cause)
      if (Option.isSome(failure)) {
        const isSnapshots = call.met.length > 0 && call.met.every(({ statement }) => isOfSnapshot(statement.text))
        const ended = sqlite && call.met.some(({ fault }) => fault._tag === "Abort")
        // createSnapshot is strict
        if (isSnapshots && !transaction && !ended && !what.startsWith("createSnapshot")) {
          wrong(`${what} failed because of a snapshot: ${String(failure.value)}`)
        }
        return { outcome: { _tag: "Failed" }, error: failure.value }
      }
      if (!Cause.isInterruptedOnly(exit.cause)) {
        wrong(`${what} died with ${Cause.pretty(exit.cause).split("\n")[0]}`)
        return { outcome: { _tag: "Died" }, error: Cause.squash(exit.cause) }
      }
      return { outcome: { _tag: "GaveUp" }, error: undefined }
    }

    let commands = 0
    const draw = (own: Dice) => {
      const command = `${seed}.${++commands}`
      const id = own.oneOf(streams)
      const amounts = Array.from({ length: own.between(1, 3) }, () => 20 + own.number(14))
      let ids = 0
      const execute = Effect.suspend(() => repository.execute(id, { amounts })).pipe(
        Effect.provideService(Event.IdGenerator, Effect.sync(() => `${command}#${++ids}`))
      )
      return { command, id, execute, seed: own.seed() }
    }

    /** One command: what it told, if it succeeded. */
    const execute = (own: Dice, open = false): Effect.Effect<Option.Option<Told>> =>
      Effect.gen(function*() {
        const { command, execute, id, seed } = draw(own)
        const { error, outcome } = yield* attempt(`execute ${command} on ${id}`, seed, execute, { open })
        if (outcome._tag === "Ok") {
          const { events, state, version } = outcome.value
          return Option.some({ command, id, from: version - events.length + 1, to: version, state: { ...state } })
        }
        const unsure = typeof error === "object" && error !== null && "mayHaveAppended" in error &&
          error.mayHaveAppended === true
        if (outcome._tag === "Failed" && !unsure) refused.set(command, String(error))
        return Option.none()
      })

    const loads: Array<Told> = []
    const load = (own: Dice, open = false): Effect.Effect<Option.Option<Told>> =>
      Effect.gen(function*() {
        const id = own.oneOf(streams)
        const { outcome } = yield* attempt(`load ${id}`, own.seed(), repository.load(id), { open })
        if (outcome._tag !== "Ok") return Option.none()
        const { state, version } = outcome.value
        return Option.some({ command: "load", id, from: version + 1, to: version, state: { ...state } })
      })

    // --- transactions ----------------------------------------------------------------

    /** What was acknowledged inside of a transaction. */
    interface Done {
      readonly told: Array<Told>
    }
    const nothing = (): Done => ({ told: [] })

    // the client's own succeed on PostgreSQL where COMMIT is a rollback, and end the fiber where a savepoint fails
    const transaction = <A, E>(own: Dice, effect: Effect.Effect<A, E>): Effect.Effect<A, unknown> =>
      sqlite && own.chance(0.5)
        ? client.withTransaction(effect)
        : Effect.provideService(subject.SqlStores.transaction(effect), SqlClient.SqlClient, client)

    const steps = (own: Dice, done: Done, depth: number): Effect.Effect<void, "given up"> =>
      Effect.gen(function*() {
        for (let n = own.between(1, 3); n > 0; n--) {
          const what = own.number(10)
          if (what < 6 || (depth > 0 && what > 7)) {
            const told = yield* execute(own, true)
            if (Option.isSome(told)) done.told.push(told.value)
            else if (own.chance(0.3)) return yield* Effect.fail("given up" as const)
          } else if (what < 8) {
            const told = yield* load(own, true)
            if (Option.isSome(told)) done.told.push(told.value)
          } else if (what === 8) {
            yield* nested(own, done)
          } else {
            const [left, right] = [new Dice(own.seed()), new Dice(own.seed())]
            yield* Effect.all([nested(left, done), nested(right, done)], { concurrency: "unbounded", discard: true })
          }
        }
      })

    const nested = (own: Dice, outer: Done): Effect.Effect<void> =>
      Effect.gen(function*() {
        const done = nothing()
        const fails = own.chance(0.4)
        const exit = yield* Effect.exit(
          transaction(own, Effect.zipRight(steps(own, done, 1), fails ? Effect.fail("rolled back") : Effect.void))
        )
        trace.push(`nested ${exit._tag}`)
        if (Exit.isSuccess(exit)) {
          outer.told.push(...done.told)
        } else {
          if (Cause.isDie(exit.cause)) {
            wrong(`a nested transaction died with ${Cause.pretty(exit.cause).split("\n")[0]}`)
          }
          refuse(done, "rolled back inside")
        }
      })

    const refuse = ({ told }: Done, why: string) => {
      for (const { command } of told) if (command !== "load") refused.set(command, why)
    }

    const transact = (own: Dice): Effect.Effect<void> =>
      Effect.gen(function*() {
        const done = nothing()
        const fails = own.chance(0.25)
        const outlives = own.chance(0.2)
        const latch = yield* Effect.makeLatch(false)
        let forked: Fiber.Fiber<Option.Option<Told>> | undefined
        const body = Effect.gen(function*() {
          // it is waited for at the end even if the transaction fails
          if (outlives) forked = yield* Effect.forkDaemon(Effect.zipRight(latch.await, execute(new Dice(own.seed()))))
          yield* steps(own, done, 0)
          if (fails) return yield* Effect.fail("rolled back" as const)
        })
        const { call, error, outcome } = yield* attempt(
          `transaction ${commands + 1}`,
          own.seed(),
          transaction(own, body),
          { open: true, transaction: true }
        )
        yield* latch.open
        if (forked !== undefined) {
          const exit = yield* Fiber.await(forked)
          if (Exit.isSuccess(exit) && Option.isSome(exit.value)) acknowledged.push(exit.value.value)
        }
        if (outcome._tag === "Ok") {
          acknowledged.push(...done.told)
          return
        }
        together.push(done.told)
        if (outcome._tag === "Failed" && !call.met.some(({ statement }) => statement.kind === "Commit")) {
          refuse(done, `rolled back with ${String(error)}`)
        }
      })

    const writer = (own: Dice) =>
      Effect.gen(function*() {
        for (let n = own.between(2, 4); n > 0; n--) {
          const what = own.number(10)
          if (own.chance(0.3)) yield* Effect.sleep(own.number(20))
          if (what < 5) yield* transact(own)
          else if (what < 8) Option.map(yield* execute(own), (told) => acknowledged.push(told))
          else if (what < 9) Option.map(yield* load(own), (told) => loads.push(told))
          else yield* attempt(`createSnapshot `, own.seed(), repository.createSnapshot(own.oneOf(streams)))
        }
      })

    calm = false
    const writers = Array.from({ length: dice.between(1, 3) }, () => new Dice(dice.seed()))
    yield* Effect.forEach(writers, writer, { concurrency: "unbounded", discard: true })
    calm = true

    // --- afterwards, without faults ----------------------------------------------------

    yield* afterwards({ client, events, snapshots, version, told: [...acknowledged, ...loads] })
    const closed = yield* Effect.timeoutOption(Effect.disconnect(Scope.close(scope, Exit.void)), grace)
    if (Option.isNone(closed)) wrong("closing does not end")
  })

  const afterwards = (
    { events, snapshots, told, version }: {
      readonly client: SqlClient.SqlClient
      readonly events: Library.EventStore.EventStore["Type"]
      readonly snapshots: Library.SnapshotStore.SnapshotStore["Type"]
      readonly version: Version
      readonly told: ReadonlyArray<Told>
    }
  ) =>
    Effect.gen(function*() {
      const stored = new Map<string, ReadonlyArray<Library.Event.RecordedEvent>>()
      const written = new Map<string, number>()
      for (const id of streams) {
        const read = yield* Effect.timeoutOption(
          Effect.disconnect(Effect.either(Stream.runCollect(events.read(streamOf(id))))),
          grace
        )
        if (Option.isNone(read)) return wrong(`${id} cannot be read any more: the read does not end`)
        if (Either.isLeft(read.value)) return wrong(`${id} cannot be read any more: ${String(read.value.left)}`)
        const recorded = Chunk.toReadonlyArray(read.value.right)
        stored.set(id, recorded)
        for (const [index, event] of recorded.entries()) {
          if (event.version !== index + 1) wrong(`${id} has version ${event.version} in place ${index + 1}`)
          const command = event.id.slice(0, event.id.indexOf("#"))
          written.set(command, (written.get(command) ?? 0) + 1)
          if (refused.has(command)) wrong(`${command} was reported as ${refused.get(command)} and stands in ${id}`)
        }
      }
      const replay = (id: string, upTo: number): Ledger =>
        (stored.get(id) ?? []).slice(0, upTo).reduce(
          (state, { payload }) => evolve(version)(state, payload as Parameters<ReturnType<typeof evolve>>[1]),
          initial
        )
      const differs = (left: Ledger, right: Ledger) => left.count !== right.count || left.digest !== right.digest
      for (const { command, from, id, state, to } of told) {
        const there = (stored.get(id) ?? []).slice(from - 1, to)
        if (there.length !== to - from + 1 || !there.every((event) => event.id.startsWith(`${command}#`))) {
          wrong(`${command} was acknowledged at ${from} to ${to} of ${id} and is not there`)
        } else if (differs(state, replay(id, to))) {
          wrong(`${command} gave ${JSON.stringify(state)} at ${to} of ${id}, replay ${JSON.stringify(replay(id, to))}`)
        }
      }
      for (const group of together) {
        const commands = group.filter(({ command }) => command !== "load")
        const there = commands.filter(({ command }) => written.has(command))
        if (there.length > 0 && there.length < commands.length) {
          wrong(`of a transaction with ${commands.map(({ command }) => command).join(" ")} a part is there`)
        }
      }
      for (const id of streams) {
        const found = yield* Effect.orDie(snapshots.get(streamOf(id), { schemaVersion: version }))
        if (Option.isNone(found) || found.value.schemaVersion !== version) continue
        const { eventId, state, version: at } = found.value
        count("snapshots")
        if (stored.get(id)?.[at - 1]?.id !== eventId) wrong(`the snapshot of ${id} at ${at} is of another history`)
        const row: { readonly count: number; readonly digest?: number; readonly hash?: number } = JSON.parse(state)
        if (differs({ count: row.count, digest: row.digest ?? row.hash ?? -1 }, replay(id, at))) {
          wrong(`the snapshot of ${id} at ${at} is not what replay gives`)
        }
      }
    })

  const exit = await Effect.runPromiseExit(program.pipe(Logger.withMinimumLogLevel(LogLevel.None)))
  if (Exit.isFailure(exit)) wrong(`the program ended with ${Cause.pretty(exit.cause)}`)
  return report()
}
