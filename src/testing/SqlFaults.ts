/**
 * Wraps the client of a database driver, so that chosen statements fail.
 *
 * A plan chooses the statements, inside the transactions of a caller as well as outside. On PostgreSQL the server itself
 * fails, so that it truly aborts the transaction. The layer replaces methods of the client's own connections, because
 * stores recognise a transaction by its connection. A wrapped client stays wrapped.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { orThrow, waitProblem, wholeFromOne } from "../internal/options.js"
import * as Plans from "../internal/testing/plans.js"
import { type Fault, type Statement, wrap } from "../internal/testing/sqlInjection.js"

export type { Fault, Statement } from "../internal/testing/sqlInjection.js"

// -------------------------------------------------------------------------------------
// faults
// -------------------------------------------------------------------------------------

/**
 * The statement fails with a full disk, and nothing is done. On PostgreSQL every failure aborts the transaction around
 * it; on SQLite the transaction stays open.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.onStatement(3, SqlFaults.fail)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const fail: Fault = { _tag: "Fail", code: undefined }

/**
 * The statement fails with another code, and nothing is done: an SQLSTATE on PostgreSQL, such as `23514`, or a code of
 * SQLite, such as `SQLITE_BUSY`.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * // the first statement of each transaction violates a check constraint of PostgreSQL
 * const plan = SqlFaults.insideTransactions(1, SqlFaults.failWith("23514"))
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const failWith = (code: string): Fault => ({ _tag: "Fail", code })

/**
 * The statement times out in the database: by the server's `statement_timeout`, or because SQLite did not get a lock.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.when(({ text }) => text.startsWith("SELECT"), SqlFaults.timeout)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const timeout: Fault = { _tag: "Timeout" }

/**
 * The statement never ends by itself. An interruption ends it; on PostgreSQL it cancels the statement, which aborts the
 * transaction.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.onStatement(3, SqlFaults.hang)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const hang: Fault = { _tag: "Hang" }

/**
 * The database ends the whole transaction: PostgreSQL because of a deadlock, SQLite because of an I/O error. On SQLite the
 * following statements of the connection are outside a transaction. Without a transaction the statement fails.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.insideTransactions(2, SqlFaults.abort)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const abort: Fault = { _tag: "Abort" }

/**
 * The server closes the connection, and nothing is done. SQLite has no server; there it does the same as {@link abort}.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.insideTransactions(2, SqlFaults.disconnect)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const disconnect: Fault = { _tag: "Disconnect", when: "Before" }

/**
 * The statement is carried out, and the server closes the connection before it answers. SQLite always answers; there the
 * statement succeeds.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * // every transaction is committed, but the program never learns that it was
 * const plan = SqlFaults.when(({ kind }) => kind === "Commit", SqlFaults.lostAnswer)
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const lostAnswer: Fault = { _tag: "Disconnect", when: "After" }

/**
 * The statement is delayed. On PostgreSQL the server itself waits, so that an interruption in the meantime aborts the
 * transaction. Throws an `InvalidOption` if the duration is negative or infinite.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.when(({ kind }) => kind === "Commit", SqlFaults.delay("100 millis"))
 * ```
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
 * Decides which statements meet a fault. Every client starts its plan once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan extends Plans.Plan<Statement, Fault> {}

/**
 * Injects no faults.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = process.env.FAULTS === "on" ? SqlFaults.onStatement(3, SqlFaults.fail) : SqlFaults.none
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const none: Plan = Plans.none

/**
 * Injects the fault into the statements that match the predicate.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.when(({ text }) => text.includes("INSERT INTO"), SqlFaults.fail)
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const when: (predicate: (statement: Statement) => boolean, fault: Fault) => Plan = Plans.when

/**
 * Injects the fault into the n-th statement of the client, counted from 1, inside and outside transactions. Throws an
 * `InvalidOption` for any other number.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.onStatement(5, SqlFaults.disconnect)
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const onStatement = (n: number, fault: Fault): Plan => {
  orThrow(wholeFromOne("SqlFaults.onStatement n", n))
  return when((statement) => statement.n === n, fault)
}

/**
 * Injects the fault into the n-th statement of every transaction, counted from 1. Throws an `InvalidOption` for any other
 * number.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.insideTransactions(1, SqlFaults.timeout)
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const insideTransactions = (n: number, fault: Fault): Plan => {
  orThrow(wholeFromOne("SqlFaults.insideTransactions n", n))
  return when(({ kind, transaction }) => kind === "Other" && transaction?.statement === n, fault)
}

/**
 * Injects faults at random: each statement meets a fault with probability `rate`, and every one of `faults` is equally
 * likely. The beginnings and ends of transactions meet none: where they fail, the driver's own `withTransaction` dies.
 * Throws an `InvalidOption` for an invalid seed or rate, and for an empty list of faults.
 *
 * @example
 * ```ts
 * import { SqlFaults } from "effect-eventsourcing/testing"
 *
 * const plan = SqlFaults.seeded({ seed: 42, rate: 0.05, faults: [SqlFaults.fail, SqlFaults.disconnect] })
 * ```
 *
 * @since 0.1.0
 * @category plans
 */
export const seeded = (options: Plans.Seeded<Fault>): Plan => {
  const plan = Plans.seeded<Statement, Fault>("SqlFaults.seeded", options, () => true)
  return {
    start: () => {
      const ask = plan.start()
      return (statement) => {
        const fault = ask(statement)
        return statement.kind === "Other" ? fault : undefined
      }
    }
  }
}

// -------------------------------------------------------------------------------------
// layers
// -------------------------------------------------------------------------------------

/**
 * Settings of a wrapped client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Called with every statement just before it runs, and with the fault that it meets, if any. */
  readonly onStatement?: ((statement: Statement, fault: Fault | undefined) => void) | undefined
}

/**
 * Wraps the client of a driver, so that its statements meet the faults of a plan.
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
    (context) =>
      Effect.provide(Effect.flatMap(SqlClient.SqlClient, (sql) => wrap(sql, plan, options.onStatement)), context)
  )
