import { SqlClient } from "@effect/sql"
import { Cause, Chunk, Context, Effect, Exit, Layer, Logger, LogLevel, Option, Schedule, Stream } from "effect"
import { SqlFaults } from "effect-eventsourcing/testing"
import { evolve, initial, type Ledger, ledger, type Subject } from "./simulation.js"
import type { Database } from "./transactions.js"

/** Where one fault at one statement breaks a promise. */
export interface Finding {
  readonly fault: SqlFaults.Fault["_tag"]
  /** Which statement of the program met it, from 1. */
  readonly statement: number
  readonly text: string
  readonly problem: string
}

export interface Options {
  readonly mode: "sync" | "inline"
  /** Whether all is done in one transaction of the caller's. */
  readonly inside: boolean
}

const snapshotTimeout = 40
const faults: ReadonlyArray<SqlFaults.Fault> = [
  SqlFaults.fail,
  SqlFaults.timeout,
  SqlFaults.abort,
  // longer than a snapshot may take, and than nothing else
  SqlFaults.delay(snapshotTimeout * 4)
]

const isDrivers = (text: string): boolean => /SAVEPOINT effect_sql/.test(text)

/**
 * A program of a few commands and a load, again and again: each time another statement of it meets a fault, until all of
 * them have met each.
 */
export const sweep = (
  subject: Subject,
  database: Database,
  { inside, mode }: Options
): Effect.Effect<{ readonly findings: ReadonlyArray<Finding>; readonly met: number }, unknown> =>
  Effect.gen(function*() {
    const sqlite = database.dialect === "sqlite"
    const { Event, EventStore, Repository, SnapshotPolicy, StreamId } = subject
    // the statement that is to fail, and the one that did
    let fault: SqlFaults.Fault | undefined
    let aim = 0
    let n = 0
    let hit: SqlFaults.Statement | undefined
    const plan: SqlFaults.Plan = {
      start: () => (statement) => {
        if (fault === undefined || ++n !== aim) return undefined
        const { kind, text } = statement
        // the driver dies where the beginning or the end of its own transaction fails
        const drivers = kind === "Rollback" || isDrivers(text) || (kind !== "Other" && inside && !sqlite)
        // SQLite gives a lock late, and no more goes wrong with these
        if (drivers || (kind !== "Other" && sqlite && fault._tag !== "Timeout")) return undefined
        hit = statement
        return fault
      }
    }
    const context = yield* Layer.build(Layer.provideMerge(
      subject.SqlStores.layer,
      database.client(subject, SqlFaults.layer(plan))
    ))
    const client = Context.get(context, SqlClient.SqlClient)
    const events = Context.get(context, EventStore.EventStore)
    const repository = yield* Repository.make(ledger(subject, 1), {
      snapshots: SnapshotPolicy[mode]({ every: 1 }),
      snapshotTimeout,
      retry: Schedule.recurs(3)
    }).pipe(Effect.provide(context))

    const findings: Array<Finding> = []
    let met = 0
    const stored = (id: string) =>
      Effect.map(Stream.runCollect(events.read(StreamId.make("Ledger", id))), Chunk.toReadonlyArray)

    const once = (fault: SqlFaults.Fault, round: string) =>
      Effect.gen(function*() {
        const wrong = (problem: string) =>
          findings.push({
            fault: fault._tag,
            statement: aim,
            text: (hit?.text ?? "").replaceAll(/\s+/g, " ").slice(0, 60),
            problem
          })
        const told: Array<readonly [id: string, command: string, version: number, state: Ledger]> = []
        const refused: Array<readonly [id: string, command: string]> = []
        let failed = false
        const execute = (id: string, command: string) =>
          Effect.gen(function*() {
            const exit = yield* repository.execute(id, { amounts: [1, 2] }).pipe(
              Effect.provideService(
                Event.IdGenerator,
                Effect.sync(() => `${id} ${command} ${crypto.randomUUID()}`)
              ),
              Effect.exit
            )
            if (Exit.isSuccess(exit)) {
              told.push([id, command, exit.value.version, { ...exit.value.state }])
              return
            }
            failed = true
            if (Cause.isDie(exit.cause)) wrong(`the command died with ${brief(exit.cause)}`)
            const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
            const unsure = typeof error === "object" && "mayHaveAppended" in error && error.mayHaveAppended
            if (!unsure) refused.push([id, command])
            // a caller who goes on after a failure on PostgreSQL commits nothing, as the driver does not tell
            if (!sqlite && inside) return yield* Effect.failCause(exit.cause)
          })
        const load = (id: string) =>
          Effect.flatMap(Effect.exit(repository.load(id)), (exit) => {
            if (Exit.isSuccess(exit)) return Effect.void
            failed = true
            if (Cause.isDie(exit.cause)) wrong(`the load died with ${brief(exit.cause)}`)
            return !sqlite && inside ? Effect.failCause(exit.cause) : Effect.void
          })
        const [a, b] = [`a ${round}`, `b ${round}`]
        const body = execute(a, "first").pipe(
          Effect.zipRight(execute(a, "second")),
          Effect.zipRight(load(a)),
          Effect.zipRight(execute(b, "third")),
          Effect.zipRight(execute(a, "fourth"))
        )
        const exit = yield* Effect.exit(inside ? client.withTransaction(body) : body)
        const committed = Exit.isSuccess(exit)
        if (!committed && Cause.isDie(exit.cause)) wrong(`the transaction died with ${brief(exit.cause)}`)
        return { a, b, committed, failed, refused, told, wrong }
      })

    const check = (
      { a, b, committed, failed, refused, told, wrong }: Effect.Effect.Success<ReturnType<typeof once>>
    ) =>
      Effect.gen(function*() {
        const there = new Map([[a, yield* stored(a)], [b, yield* stored(b)]])
        const has = (id: string, command: string) =>
          there.get(id)?.some((event) => event.id.startsWith(`${id} ${command} `))
        for (const [id, command, version, state] of told) {
          if (committed && has(id, command) !== true) wrong(`the ${command} command was acknowledged and is not there`)
          if (!committed && has(id, command) === true) wrong(`the ${command} command was rolled back and is there`)
          if (!committed || has(id, command) !== true) continue
          const replayed = (there.get(id) ?? []).slice(0, version).reduce(
            (state, { payload }) => evolve(1)(state, payload as Parameters<ReturnType<typeof evolve>>[1]),
            initial
          )
          if (replayed.digest !== state.digest) wrong(`the ${command} command gave another state than replay`)
        }
        for (const [id, command] of refused) {
          if (has(id, command)) wrong(`the ${command} command was refused and is there`)
        }
        if (!committed && sqlite && hit !== undefined && hit.kind !== "Other") {
          wrong("a lock that was given later failed the transaction")
        }
        if (failed && hit !== undefined && isOfSnapshot(hit.text)) {
          // a transaction that the database itself has ended takes the command with it
          if (!(sqlite && inside && fault?._tag === "Abort")) wrong("a command failed because of a snapshot")
        }
      })

    for (const each of faults) {
      for (aim = 1;; aim++) {
        fault = each
        n = 0
        hit = undefined
        const done = yield* once(each, crypto.randomUUID())
        const last = n < aim
        yield* Effect.sync(() => n = Infinity).pipe(Effect.zipRight(check(done)))
        if (last) break
        met++
      }
    }
    fault = undefined
    return { findings, met }
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))

/** Statements that only a snapshot needs. */
export const isOfSnapshot = (text: string): boolean =>
  /_snapshots"/.test(text) && !/_events"|append|_load|_tail/.test(text)

const brief = (cause: Cause.Cause<unknown>): string => Cause.pretty(cause).split("\n")[0]

/** One line a finding. */
export const told = (findings: ReadonlyArray<Finding>): string =>
  findings.map(({ fault, problem, statement, text }) => `${fault} at statement ${statement} (${text}): ${problem}`)
    .join(
      "\n"
    )
