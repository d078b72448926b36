/**
 * A database that fails on purpose, one statement at a time. A layer wraps the `SqlClient` of a driver: a plan says which
 * statement meets which fault, inside the transactions of a caller as well as outside. On PostgreSQL the server itself
 * is made to fail, so that a transaction is truly aborted by it.
 *
 * The layer replaces methods of the client's own connections, as stores know a transaction by its connection. A client
 * that met it once keeps it.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { PCGRandom } from "effect/Utils"
import { orThrow, waitProblem, wholeFromOne, wholeProblem } from "../internal/options.js"
import { InvalidOption } from "../InvalidOption.js"
import { Injected } from "./Faults.js"

// -------------------------------------------------------------------------------------
// faults
// -------------------------------------------------------------------------------------

/**
 * What happens to a statement.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly _tag: "Fail"; readonly code: string | undefined }
  | { readonly _tag: "Timeout" }
  | { readonly _tag: "Hang" }
  | { readonly _tag: "Abort" }
  | { readonly _tag: "Disconnect"; readonly when: "Before" | "After" }
  | { readonly _tag: "Delay"; readonly duration: Duration.DurationInput }

/**
 * The statement fails and does nothing. On PostgreSQL that aborts the transaction around it, as every failure does; on
 * SQLite the transaction goes on. Without a code it is a full disk.
 *
 * @since 0.1.0
 * @category faults
 */
export const fail: Fault = { _tag: "Fail", code: undefined }

/**
 * The same with the code of another failure: an SQLSTATE on PostgreSQL, such as `23514`, or one of SQLite's, such as
 * `SQLITE_BUSY`.
 *
 * @since 0.1.0
 * @category faults
 */
export const failWith = (code: string): Fault => ({ _tag: "Fail", code })

/**
 * The statement takes longer than the database allows: the server's `statement_timeout`, or a lock that SQLite waited
 * for in vain.
 *
 * @since 0.1.0
 * @category faults
 */
export const timeout: Fault = { _tag: "Timeout" }

/**
 * The statement never ends by itself. An interruption ends it, on PostgreSQL by a cancellation that aborts the
 * transaction.
 *
 * @since 0.1.0
 * @category faults
 */
export const hang: Fault = { _tag: "Hang" }

/**
 * The database ends the whole transaction: PostgreSQL as the victim of a deadlock, SQLite as after an I/O error, where
 * what follows on the connection is no longer in a transaction. Outside a transaction the statement fails.
 *
 * @since 0.1.0
 * @category faults
 */
export const abort: Fault = { _tag: "Abort" }

/**
 * The server ends the connection, and nothing is done. SQLite has none; there it is {@link abort}.
 *
 * @since 0.1.0
 * @category faults
 */
export const disconnect: Fault = { _tag: "Disconnect", when: "Before" }

/**
 * The statement is carried out, and the server ends the connection before it answers. SQLite always answers; there the
 * statement is carried out and that is all.
 *
 * @since 0.1.0
 * @category faults
 */
export const lostAnswer: Fault = { _tag: "Disconnect", when: "After" }

/**
 * The statement begins after a while: on PostgreSQL the server itself waits, so that an interruption meanwhile aborts
 * the transaction. Throws an `InvalidOption` if the duration is negative or endless.
 *
 * @since 0.1.0
 * @category faults
 */
export const delay = (duration: Duration.DurationInput): Fault => {
  orThrow(waitProblem("SqlFaults.delay duration", duration))
  return { _tag: "Delay", duration }
}

// -------------------------------------------------------------------------------------
// plans
// -------------------------------------------------------------------------------------

/**
 * A statement as a plan sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  /** Which statement of the client it is, from 1. */
  readonly n: number
  readonly text: string
  /** `Begin`, `Commit` and `Rollback` are of the whole transaction; savepoints are `Other`. */
  readonly kind: "Begin" | "Commit" | "Rollback" | "Other"
  /** Inside a transaction: which one of the client, from 1, and which of its statements, from 1 after its beginning. */
  readonly transaction: { readonly number: number; readonly statement: number } | undefined
}

/**
 * Says which statements meet a fault. It is started once for every client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan {
  readonly start: () => (statement: Statement) => Fault | undefined
}

/**
 * @since 0.1.0
 * @category plans
 */
export const none: Plan = { start: () => () => undefined }

/**
 * The statements that fit.
 *
 * @since 0.1.0
 * @category plans
 */
export const when = (predicate: (statement: Statement) => boolean, fault: Fault): Plan => ({
  start: () => (statement) => predicate(statement) ? fault : undefined
})

/**
 * The n-th statement of the client, from 1, transactions or not. Throws an `InvalidOption` for any other number.
 *
 * @since 0.1.0
 * @category plans
 */
export const onStatement = (n: number, fault: Fault): Plan => {
  orThrow(wholeFromOne("SqlFaults.onStatement n", n))
  return when((statement) => statement.n === n, fault)
}

/**
 * The n-th statement inside every transaction, from 1. Throws an `InvalidOption` for any other number.
 *
 * @since 0.1.0
 * @category plans
 */
export const insideTransactions = (n: number, fault: Fault): Plan => {
  orThrow(wholeFromOne("SqlFaults.insideTransactions n", n))
  return when(({ kind, transaction }) => kind === "Other" && transaction?.statement === n, fault)
}

/**
 * Statements at random: each meets a fault with probability `rate`, one of `faults` with equal chance. The beginnings
 * and ends of transactions meet none: where they fail, the driver's own `withTransaction` dies. Throws an
 * `InvalidOption` for what is not a seed, not a rate, or for no fault.
 *
 * @since 0.1.0
 * @category plans
 */
export const seeded = (options: {
  /** A whole number. */
  readonly seed: number
  /** From 0 to 1. */
  readonly rate: number
  /** At least one. */
  readonly faults: ReadonlyArray<Fault>
}): Plan => {
  const { faults, rate, seed } = options
  orThrow(wholeProblem("SqlFaults.seeded seed", seed))
  if (!(rate >= 0 && rate <= 1)) {
    throw new InvalidOption({ option: "SqlFaults.seeded rate", value: String(rate), expected: "a number from 0 to 1" })
  }
  if (faults.length === 0) {
    throw new InvalidOption({ option: "SqlFaults.seeded faults", value: "[]", expected: "one fault or more" })
  }
  return {
    start: () => {
      const random = new PCGRandom(seed)
      return ({ kind }) => {
        // always two numbers, so that what one statement meets does not depend on what the others met
        const lot = random.number()
        const which = Math.floor(random.number() * faults.length)
        return kind === "Other" && lot < rate ? faults[which] : undefined
      }
    }
  }
}

// -------------------------------------------------------------------------------------
// layers
// -------------------------------------------------------------------------------------

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Told of every statement just before it runs, with the fault that it meets, if any. */
  readonly onStatement?: ((statement: Statement, fault: Fault | undefined) => void) | undefined
}

/**
 * Has the statements of a driver's client meet the faults of a plan.
 *
 * @example
 * ```ts
 * import { Layer } from "effect"
 * import { Sqlite, SqlEventStore } from "effect-eventsourcing"
 * import { SqlFaults } from "effect-eventsourcing/testing"
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 *
 * // the second statement inside each transaction ends that transaction
 * const flaky = SqlFaults.layer(SqlFaults.insideTransactions(2, SqlFaults.abort))
 *
 * const Flaky = SqlEventStore.layer.pipe(
 *   Layer.provide(Sqlite.layer((config) => flaky(SqliteClient.layer(config)), { filename: ":memory:" }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (plan: Plan, options: Options = {}) =>
<A, E, R>(
  client: Layer.Layer<A | SqlClient.SqlClient, E, R>
): Layer.Layer<A | SqlClient.SqlClient, E | SqlError, R> =>
  Layer.tap(
    client,
    (context) => Effect.provide(Effect.flatMap(SqlClient.SqlClient, (sql) => wrap(sql, plan, options)), context)
  )

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

interface Open {
  readonly number: number
  statements: number
}

// the connection of SQLite is one object; those of a pool share a prototype that is the client's own
const wrap = (sql: SqlClient.SqlClient, plan: Plan, options: Options): Effect.Effect<void, SqlError> =>
  Effect.scoped(Effect.map(sql.reserve, (connection) => {
    const driver = sql.onDialectOrElse({ pg: () => postgres, orElse: () => sqlite })
    const shared: Connection.Connection = Object.getPrototypeOf(connection)
    const target = shared === Object.prototype ? connection : shared
    const { execute, executeRaw, executeStream, executeUnprepared, executeValues } = target
    const methods = { execute, executeRaw, executeStream, executeUnprepared, executeValues }
    // a method of the driver that calls another one must not meet a second fault
    const bare = (self: Connection.Connection): Connection.Connection => Object.assign(Object.create(self), methods)
    const meet = meeting(driver, plan, options, (self, text) => bare(self).executeUnprepared(text, [], undefined))
    Object.assign(
      target,
      {
        execute(text, ...rest) {
          return meet(this, text, () => bare(this).execute(text, ...rest))
        },
        executeRaw(text, ...rest) {
          return meet(this, text, () => bare(this).executeRaw(text, ...rest))
        },
        executeValues(text, ...rest) {
          return meet(this, text, () => bare(this).executeValues(text, ...rest))
        },
        executeUnprepared(text, ...rest) {
          return meet(this, text, () => bare(this).executeUnprepared(text, ...rest))
        },
        executeStream(text, ...rest) {
          const begin = meet(this, text, () => Effect.void)
          return Stream.unwrap(Effect.as(begin, bare(this).executeStream(text, ...rest)))
        }
      } satisfies Connection.Connection
    )
  }))

const kindOf = (text: string): Statement["kind"] =>
  /^\s*(BEGIN|START TRANSACTION)\b/i.test(text)
    ? "Begin"
    : /^\s*(COMMIT|END)\b/i.test(text)
    ? "Commit"
    : /^\s*ROLLBACK\b(?! TO)/i.test(text)
    ? "Rollback"
    : "Other"

/** Runs a text on the connection itself, past all faults. */
type Raw = (self: Connection.Connection, text: string) => Effect.Effect<unknown, SqlError>

const meeting = (driver: Driver, plan: Plan, { onStatement }: Options, raw: Raw) => {
  const ask = plan.start()
  const transactions = new WeakMap<Connection.Connection, Open>()
  let begun = 0
  let count = 0
  return <A>(
    self: Connection.Connection,
    text: string,
    run: () => Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> =>
    Effect.suspend(() => {
      const kind = kindOf(text)
      const open = transactions.get(self)
      if (open !== undefined && kind === "Other") open.statements++
      const statement: Statement = {
        n: ++count,
        text,
        kind,
        transaction: open === undefined ? undefined : { number: open.number, statement: open.statements }
      }
      const fault = ask(statement)
      onStatement?.(statement, fault)
      const done = Effect.suspend(run)
      const met = fault === undefined ? done : driver(fault, {
        done,
        raw: (text) => raw(self, text),
        kind,
        isOpen: open !== undefined,
        mark: new Injected({ operation: "SqlClient", call: statement.n, fault: fault._tag })
      })
      if (kind === "Other") return met
      return Effect.onExit(met, (exit) =>
        Effect.sync(() => {
          if (kind !== "Begin") transactions.delete(self)
          else if (exit._tag === "Success") transactions.set(self, { number: ++begun, statements: 0 })
        }))
    })
}

interface Met<A> {
  readonly done: Effect.Effect<A, SqlError>
  readonly raw: (text: string) => Effect.Effect<unknown, SqlError>
  readonly kind: Statement["kind"]
  readonly isOpen: boolean
  readonly mark: Injected
}

/** How a database meets a fault. */
type Driver = <A>(fault: Fault, met: Met<A>) => Effect.Effect<A, SqlError>

const sqlite: Driver = (fault, { done, isOpen, mark, raw }) => {
  const failure = (code: string, message: string) =>
    new SqlError({
      cause: Object.assign(new Error(message, { cause: mark }), { code }),
      message: "Failed to execute statement"
    })
  const aborted = Effect.zipRight(
    isOpen ? Effect.ignore(raw("ROLLBACK")) : Effect.void,
    Effect.suspend(() => failure("SQLITE_IOERR_WRITE", "disk I/O error"))
  )
  switch (fault._tag) {
    case "Fail":
      return failure(fault.code ?? "SQLITE_FULL", "database or disk is full")
    case "Timeout":
      return failure("SQLITE_BUSY", "database is locked")
    case "Hang":
      return Effect.never
    case "Abort":
      return aborted
    case "Disconnect":
      return fault.when === "Before" ? aborted : done
    case "Delay":
      return Effect.zipRight(Effect.sleep(fault.duration), done)
  }
}

const postgres: Driver = (fault, { done, kind, mark, raw }) => {
  // an error of the server itself, marked as ours
  const provoke = (text: string): Effect.Effect<never, SqlError> =>
    Effect.flatMap(Effect.either(raw(text)), (result) => {
      const error = Either.isLeft(result) ? result.left : notProvoked()
      if (error.cause instanceof Error) error.cause.cause ??= mark
      return error
    })
  const raise = (code: string, message: string) => {
    const raised = provoke(`DO $$ BEGIN RAISE EXCEPTION '${message}' USING ERRCODE = '${code}'; END $$`)
    // a commit that fails ends the transaction all the same
    return kind === "Commit" ? Effect.tapError(raised, () => Effect.ignore(raw("ROLLBACK"))) : raised
  }
  const ended = provoke("SELECT pg_terminate_backend(pg_backend_pid())")
  switch (fault._tag) {
    case "Fail":
      return raise(fault.code ?? "53100", "no space left on device")
    case "Timeout":
      return raise("57014", "canceling statement due to statement timeout")
    case "Hang":
      return Effect.zipRight(raw("SELECT pg_sleep(86400)"), done)
    case "Abort":
      return raise("40P01", "deadlock detected")
    case "Disconnect":
      return fault.when === "Before" ? ended : Effect.zipRight(done, ended)
    case "Delay":
      return Effect.zipRight(raw(`SELECT pg_sleep(${Duration.toSeconds(fault.duration)})`), done)
  }
}

const notProvoked = (): SqlError =>
  new SqlError({ cause: new Error("the server did not fail"), message: "Failed to execute statement" })
