/**
 * Injects faults into the statements of a driver's client.
 *
 * It replaces the methods of the client's connections, because stores recognise a transaction by its connection. On
 * PostgreSQL the server itself is made to fail. Cost: one call of the plan for each statement.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { Injected } from "./injected.js"
import type { Plan } from "./plans.js"

/**
 * The effect of a fault on a statement.
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
 * A statement, as a plan receives it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Statement {
  /** The number of the statement among the statements of the client, from 1. */
  readonly n: number
  readonly text: string
  /** `Begin`, `Commit` and `Rollback` belong to the whole transaction. Statements of savepoints are `Other`. */
  readonly kind: "Begin" | "Commit" | "Rollback" | "Other"
  /** Inside a transaction: its number, and the number of the statement after its beginning, both from 1. */
  readonly transaction: { readonly number: number; readonly statement: number } | undefined
}

interface Open {
  readonly number: number
  statements: number
}

type OnStatement = ((statement: Statement, fault: Fault | undefined) => void) | undefined

/**
 * Replaces the methods of the client's own connections. SQLite has one connection object; the connections of a pool
 * share a prototype that belongs to the client.
 */
export const wrap = (
  sql: SqlClient.SqlClient,
  plan: Plan<Statement, Fault>,
  onStatement: OnStatement
): Effect.Effect<void, SqlError> =>
  Effect.scoped(Effect.map(sql.reserve, (connection) => {
    const driver = sql.onDialectOrElse({ pg: () => postgres, orElse: () => sqlite })
    const shared: Connection.Connection = Object.getPrototypeOf(connection)
    const target = shared === Object.prototype ? connection : shared
    const { execute, executeRaw, executeStream, executeUnprepared, executeValues } = target
    const methods = { execute, executeRaw, executeStream, executeUnprepared, executeValues }
    // a method of the driver may call another one, which must not meet a second fault
    const bare = (self: Connection.Connection): Connection.Connection => Object.assign(Object.create(self), methods)
    const meet = meeting(driver, plan, onStatement, (self, text) => bare(self).executeUnprepared(text, [], undefined))
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

/** Runs a text on the connection itself, without a fault. */
type Raw = (self: Connection.Connection, text: string) => Effect.Effect<unknown, SqlError>

const meeting = (driver: Driver, plan: Plan<Statement, Fault>, onStatement: OnStatement, raw: Raw) => {
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

/** Carries out a fault on one kind of database. */
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
  // gets an error from the server itself, and marks it
  const provoke = (text: string): Effect.Effect<never, SqlError> =>
    Effect.flatMap(Effect.either(raw(text)), (result) => {
      const error = Either.isLeft(result) ? result.left : notProvoked()
      if (error.cause instanceof Error) error.cause.cause ??= mark
      return error
    })
  const raise = (code: string, message: string) => {
    const raised = provoke(`DO $$ BEGIN RAISE EXCEPTION '${message}' USING ERRCODE = '${code}'; END $$`)
    // a commit that fails ends the transaction, too
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
