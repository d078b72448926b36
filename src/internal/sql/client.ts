// Runs the statements of the stores on a SqlClient of a program: in the caller's transaction if that is one of the client,
// else outside of any, with retries. It takes the client's connection itself, since a span and the compiler for every
// statement cost more than the statement.
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { identity, type LazyArg } from "effect/Function"
import * as Option from "effect/Option"
import { isTraced } from "../tracing.js"
import { refusal } from "./failure.js"
import * as Pool from "./postgres/pool.js"
import * as Savepoint from "./postgres/savepoint.js"
import * as TransactionState from "./postgres/transactionState.js"
import * as Retry from "./retry.js"
import type { Row } from "./row.js"
import * as SqliteConnection from "./sqlite/connection.js"
import type { Query } from "./statement.js"
import * as Transactions from "./transactions.js"

/** A `SqlClient` as a store uses it. */
export interface StoreClient {
  readonly sql: SqlClient.SqlClient
  /** The service that the client was made from: two stores that share a database have the same. */
  readonly identity: SqlClient.SqlClient
  /** Runs one statement. It must be inside one of `run`, `repeat`, `attempt` and `attemptBriefly`. */
  readonly execute: (query: Query) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /** Like `execute`, but a row is the list of its columns: for many rows. */
  readonly executeValues: (query: Query) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  /** Like `executeValues`, for a query that is made when there is a connection for it. */
  readonly executeValuesOf: (
    query: LazyArg<Query>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  /**
   * Runs statements on this client. All clients share the tag of an open transaction, so the statements of one would run
   * on the connection of another: this leaves a transaction of another client out. Outside a transaction it repeats for
   * a while statements that failed and changed nothing.
   */
  readonly run: Retry.Run
  /** Like `run`, for statements that are safe to do twice: it repeats them also after a lost connection. */
  readonly repeat: Retry.Run
  /** Like `repeat`. Inside a transaction of the caller a failure leaves the transaction as it was. */
  readonly attempt: Retry.Run
  /** Like `attempt`, for optimisations: inside a transaction it hardly waits for a lock. */
  readonly attemptBriefly: Retry.Run
  /** Gives the exit of an effect. A failure leaves the caller's transaction as it was; if that is lost, this fails. */
  readonly swallow: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Exit.Exit<A, E | SqlError>, SqlError>
  /** Runs statements in one transaction: the caller's if that is one of this client, else a new one. */
  readonly transaction: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E | SqlError>
  /** Whether the caller is inside a transaction of this client. */
  readonly inTransaction: Effect.Effect<boolean>
  /** Whether a fiber's statement may be sent with those of others: it is in no transaction, and nothing transforms it. */
  readonly mayShare: (fiber: Fiber.RuntimeFiber<unknown, unknown>) => boolean
}

export const make: Effect.Effect<StoreClient, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const service = yield* SqlClient.SqlClient
  const sql = service.withoutTransforms()
  const parts: Parts = {
    sql,
    sqlite: SqliteConnection.of(service),
    pool: sql.onDialectOrElse({ pg: () => Pool.of(sql), orElse: () => undefined }),
    isOwn: yield* Transactions.belongs(service)
  }
  const isPostgres = parts.pool !== undefined
  // a statement that fails on SQLite undoes itself and nothing else
  const inSavepoint = isPostgres ? savepoint : () => joined
  const runUndone = run(parts, Retry.whileUndone, joined)
  const execute = executeOn(parts)
  const executeValuesOf: StoreClient["executeValuesOf"] = (query) =>
    execute((connection) => {
      const { params, text } = query()
      return connection.executeValues(text, params)
    }, () => {
      const { params, text } = query()
      return sql.unsafe(text, params).values
    })
  return {
    sql,
    identity: service,
    execute: ({ params, text }) =>
      execute<ReadonlyArray<Row>>(
        (connection) => connection.execute(text, params, undefined),
        () => sql.unsafe<Row>(text, params)
      ),
    executeValues: (query) => executeValuesOf(() => query),
    executeValuesOf,
    run: (effect) => Effect.withTracerEnabled(runUndone(effect), false),
    repeat: run(parts, Retry.whileUndoneOrLost, joined),
    attempt: run(parts, Retry.whileUndoneOrLost, inSavepoint("long")),
    attemptBriefly: run(parts, Retry.whileUndoneOrLost, inSavepoint("short")),
    swallow: <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.withFiberRuntime((fiber): Effect.Effect<Exit.Exit<A, E | SqlError>, SqlError> => {
        const transaction = isPostgres ? ownTransaction(parts, fiber.currentContext) : undefined
        if (transaction === undefined) return Effect.exit(effect)
        return Effect.flatMap(
          Savepoint.run(effect, transaction, "short"),
          ({ exit, lost }) => lost === undefined ? Effect.succeed(exit) : lost
        )
      }),
    transaction: <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.withFiberRuntime((fiber): Effect.Effect<A, E | SqlError> => {
        const transaction = ownTransaction(parts, fiber.currentContext)
        if (transaction !== undefined) return joined(effect, transaction)
        // the client would make a span for the transaction
        const traced = isTraced(fiber) ? Effect.withTracerEnabled(effect, true) : effect
        return Effect.withTracerEnabled(Transactions.begin(sql, traced, (_, error) => error), false)
      }),
    inTransaction: Effect.contextWith((context: Context.Context<never>) =>
      ownTransaction(parts, context) !== undefined
    ),
    mayShare: (fiber) =>
      (isPostgres || parts.sqlite !== undefined) &&
      Option.isNone(fiber.getFiberRef(Statement.currentTransformer)) &&
      ownTransaction(parts, fiber.currentContext) === undefined
  }
})

interface Parts {
  readonly sql: SqlClient.SqlClient
  readonly isOwn: (connection: Connection.Connection) => boolean
  readonly pool: Pool.Pool | undefined
  readonly sqlite: SqliteConnection.SqliteConnection | undefined
}

interface InTransaction {
  <A, E>(
    effect: Effect.Effect<A, E | SqlError>,
    transaction: TransactionState.Transaction
  ): Effect.Effect<A, E | SqlError>
}

const ownTransaction = (
  { isOwn }: Parts,
  context: Context.Context<never>
): TransactionState.Transaction | undefined => {
  const transaction = Option.getOrUndefined(Context.getOption(context, SqlClient.TransactionConnection))
  return transaction !== undefined && isOwn(transaction[0]) ? transaction : undefined
}

const run = (parts: Parts, retry: Retry.Run, inTransaction: InTransaction): Retry.Run => (effect) =>
  Effect.withFiberRuntime((fiber) => {
    const context = fiber.currentContext
    const transaction = Context.getOption(context, SqlClient.TransactionConnection)
    if (Option.isNone(transaction)) return retry(effect)
    return parts.isOwn(transaction.value[0])
      ? inTransaction(effect, transaction.value)
      : retry(Transactions.outside(context, effect))
  })

const joined: InTransaction = (effect, transaction) => {
  const problem = TransactionState.problem(transaction)
  return problem === undefined ? effect : refusal(problem)
}

const savepoint = (waiting: Savepoint.Waiting): InTransaction => (effect, transaction) =>
  Effect.flatMap(
    Savepoint.run(effect, transaction, waiting),
    ({ exit, lost }) => lost !== undefined && Exit.isSuccess(exit) ? lost : exit
  )

const executeOn = ({ pool, sqlite }: Parts) =>
<A>(
  onConnection: (connection: Connection.Connection) => Effect.Effect<A, SqlError>,
  statement: () => Effect.Effect<A, SqlError>
): Effect.Effect<A, SqlError> => {
  const fromPool = pool?.use(onConnection, identity)
  return Effect.withFiberRuntime((fiber) => {
    if (Option.isNone(fiber.getFiberRef(Statement.currentTransformer))) {
      const transaction = Context.getOption(fiber.currentContext, SqlClient.TransactionConnection)
      if (Option.isSome(transaction)) return joined(onConnection(transaction.value[0]), transaction.value)
      if (fromPool !== undefined) return fromPool
      if (sqlite !== undefined) return onConnection(sqlite.shared)
    }
    return Effect.withTracerEnabled(statement(), false)
  })
}
