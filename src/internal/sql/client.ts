import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { liveClock } from "../liveClock.js"
import { classify, refusal } from "./failure.js"
import * as Course from "./postgres/course.js"
import * as Pool from "./postgres/pool.js"
import * as PgTransaction from "./postgres/transaction.js"
import * as Savepoint from "./savepoint.js"
import * as SqliteConnection from "./sqlite/connection.js"

/**
 * A `SqlClient` as a store uses it.
 *
 * @internal
 */
export interface OwnClient {
  readonly sql: SqlClient.SqlClient
  /** The service that the client was made from: the same for two stores that share a database. */
  readonly identity: SqlClient.SqlClient
  /**
   * Runs one statement, inside one of the three below, on the connection that the client would take and with as little
   * around it as is safe.
   */
  readonly execute: <Row extends object>(
    text: string,
    params: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /** Like `execute`, but a row is the list of its columns: for many rows. */
  readonly executeValues: (
    text: string,
    params: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>
  /** `execute` for a statement that is compiled when it runs. */
  readonly query: <Row extends object>(
    statement: Statement.Statement<Row>
  ) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /**
   * Runs statements on this client, inside the caller's transaction if that is one of this client: the tag of an open
   * transaction is the same for all clients, so that the statements of one would run on the connection of another.
   * Outside a transaction, what failed without having been done is asked again for a while.
   */
  readonly run: Run
  /** Like `run`, for what may be done twice: it is asked again also after a lost connection. */
  readonly repeat: Run
  /** Like `repeat`, and inside a transaction of the caller's a failure leaves that as it was. */
  readonly attempt: Run
  /** Like `attempt`, for what is only an optimisation: inside a transaction it hardly waits for a lock. */
  readonly attemptBriefly: Run
  /**
   * Gives how an effect ended, for a caller that goes on whatever that is: inside a transaction of this client a failure
   * leaves that as it was. Where it does not, because the transaction itself is lost, this fails.
   */
  readonly swallow: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<Exit.Exit<A, E | SqlError>, SqlError>
  /**
   * Runs statements in one transaction: the caller's if that is one of this client, else one of its own. The client ends
   * the fiber where its `BEGIN` or `COMMIT` fails; here that is a failure like that of a statement.
   */
  readonly transaction: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E | SqlError>
  /** Whether the caller is inside a transaction of this client. */
  readonly inTransaction: Effect.Effect<boolean>
}

/** @internal */
export interface Run {
  <A, E>(effect: Effect.Effect<A, E | SqlError>): Effect.Effect<A, E | SqlError>
}

/** @internal */
export const make: Effect.Effect<OwnClient, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const service = yield* SqlClient.SqlClient
  const sql = service.withoutTransforms()
  const sqlite = SqliteConnection.of(service)
  const isOwn = yield* belongs(service)

  const runWith = (options: {
    readonly retry: Run
    readonly inTransaction: <A, E>(
      effect: Effect.Effect<A, E | SqlError>,
      transaction: Course.Transaction
    ) => Effect.Effect<A, E | SqlError>
  }): Run =>
  (effect) =>
    Effect.contextWithEffect((context: Context.Context<never>) => {
      const transaction = Context.getOption(context, SqlClient.TransactionConnection)
      if (Option.isNone(transaction)) return options.retry(effect)
      return isOwn(transaction.value[0])
        ? options.inTransaction(effect, transaction.value)
        : options.retry(
          Effect.mapInputContext(effect, (_: Context.Context<never>) =>
            Context.omit(SqlClient.TransactionConnection)(context))
        )
    })

  const pool = sql.onDialectOrElse({ pg: () => Pool.of(sql), orElse: () => undefined })
  const isPostgres = pool !== undefined
  const joined = <A, E>(effect: Effect.Effect<A, E | SqlError>, transaction: Course.Transaction) => {
    const problem = Course.problem(transaction)
    return problem === undefined ? effect : refusal(problem)
  }
  const inSavepoint = (waiting: Savepoint.Waiting): typeof joined =>
    isPostgres
      ? (effect, transaction) =>
        Effect.flatMap(
          Savepoint.run(effect, transaction, waiting),
          ({ exit, lost }) => lost !== undefined && Exit.isSuccess(exit) ? lost : exit
        )
      // a statement that fails on SQLite undoes itself and nothing else
      : joined

  const runUndone = runWith({ retry: whileUndone, inTransaction: joined })

  // a span for every statement, and the compiler, cost more than the statement
  const executeWith = <A>(
    onConnection: (connection: Connection.Connection) => Effect.Effect<A, SqlError>,
    statement: () => Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> => {
    const otherwise = Effect.suspend(() => Effect.withTracerEnabled(statement(), false))
    const fromPool = pool?.use(onConnection, identity)
    return Effect.withFiberRuntime((fiber) => {
      if (Option.isNone(fiber.getFiberRef(Statement.currentTransformer))) {
        const transaction = Context.getOption(fiber.currentContext, SqlClient.TransactionConnection)
        if (Option.isSome(transaction)) return joined(onConnection(transaction.value[0]), transaction.value)
        if (fromPool !== undefined) return fromPool
        if (sqlite !== undefined) return onConnection(sqlite.shared)
      }
      return otherwise
    })
  }
  const execute: OwnClient["execute"] = <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
    executeWith<ReadonlyArray<Row>>(
      (connection) => connection.execute(text, params, undefined),
      () => sql.unsafe<Row>(text, params)
    )

  return {
    sql,
    identity: service,
    execute,
    executeValues: (text, params) =>
      executeWith(
        (connection) => connection.executeValues(text, params),
        () => sql.unsafe(text, params).values
      ),
    query: (statement) => execute(...statement.compile()),
    transaction: (effect) =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        const transaction = Context.getOption(context, SqlClient.TransactionConnection)
        return Option.isSome(transaction) && isOwn(transaction.value[0])
          ? joined(effect, transaction.value)
          : begin(sql, effect, (_, error) => error)
      }).pipe(Effect.withTracerEnabled(false)),
    run: (effect) => Effect.withTracerEnabled(runUndone(effect), false),
    repeat: runWith({ retry: whileUndoneOrLost, inTransaction: joined }),
    attempt: runWith({ retry: whileUndoneOrLost, inTransaction: inSavepoint("long") }),
    attemptBriefly: runWith({ retry: whileUndoneOrLost, inTransaction: inSavepoint("short") }),
    swallow: (effect) =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        const transaction = Context.getOption(context, SqlClient.TransactionConnection)
        if (!isPostgres || Option.isNone(transaction) || !isOwn(transaction.value[0])) return Effect.exit(effect)
        return Effect.flatMap(
          Savepoint.run(effect, transaction.value, "short"),
          ({ exit, lost }) => lost === undefined ? Effect.succeed(exit) : lost
        )
      }),
    inTransaction: Effect.contextWith((context: Context.Context<never>) =>
      Option.exists(Context.getOption(context, SqlClient.TransactionConnection), ([connection]) => isOwn(connection))
    )
  }
})

/**
 * Whether a connection is one of this client's: of an open transaction, on SQLite. The pool of PostgreSQL makes its
 * connections all of a class that belongs to the client.
 *
 * @internal
 */
export const belongs = (
  client: SqlClient.SqlClient
): Effect.Effect<(connection: Connection.Connection) => boolean, SqlError> => {
  const sqlite = SqliteConnection.of(client)
  if (sqlite !== undefined) return Effect.succeed(sqlite.isOpen)
  return Effect.map(
    ownConnection(client),
    (own) => (connection: Connection.Connection) =>
      connection === own || (own.constructor !== Object && connection.constructor === own.constructor)
  )
}

/**
 * Begins a transaction of a client, and runs an effect in it. The client ends the fiber where its `BEGIN` or `COMMIT`
 * fails; here that is a failure like that of a statement.
 *
 * @internal
 */
export const begin = <A, E, R, F>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  failed: PgTransaction.Failed<F>
): Effect.Effect<A, E | F, R> =>
  // the tag of another client's transaction must be gone before this one's is set
  Effect.locallyWith(
    sql.onDialectOrElse({
      pg: () => PgTransaction.run(sql, effect, failed),
      orElse: () => typedTransaction(sql, effect, failed)
    }),
    FiberRef.currentContext,
    Context.omit(SqlClient.TransactionConnection)
  )

/**
 * Runs an effect by the client's own `withTransaction`: a new transaction, or one nested in that which is open.
 *
 * @internal
 */
export const typedTransaction = <A, E, R, F>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  failed: PgTransaction.Failed<F>
): Effect.Effect<A, E | F, R> =>
  Effect.suspend(() => {
    let ended: Exit.Exit<A, E> | undefined
    const body = Effect.onExit(effect, (exit) => Effect.sync(() => ended = exit))
    return Effect.catchAllCause(sql.withTransaction(body), (cause): Effect.Effect<never, E | F> => {
      // what ran in it failed, and so does this
      if (ended !== undefined && Exit.isFailure(ended)) return Effect.failCause(ended.cause)
      if (Cause.isInterruptedOnly(cause)) return Effect.interrupt
      const error = Cause.squash(cause)
      const message = "Failed to begin or to end the transaction"
      const known = error instanceof SqlError ? error : new SqlError({ cause: error, message })
      return Effect.fail(failed(ended === undefined ? "NotBegun" : PgTransaction.afterCommit(known), known))
    })
  })

/**
 * A connection of the client, to know its transactions by. A store may be built inside a transaction: SQLite gives its one
 * connection only when that ends, if it is one of this client, and at once if it is not. The pool of PostgreSQL may have
 * no other one either; there the object through which statements outside of transactions go does as well.
 */
const ownConnection = (sql: SqlClient.SqlClient): Effect.Effect<Connection.Connection, SqlError> =>
  Effect.contextWithEffect((context: Context.Context<never>) => {
    const known = ownConnections.get(sql.reserve)
    if (known !== undefined) return Effect.succeed(known)
    const outer = Context.getOption(context, SqlClient.TransactionConnection)
    const outside = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.mapInputContext(
        effect,
        (_: Context.Context<never>) => Context.omit(SqlClient.TransactionConnection)(context)
      )
    const note = (acquired: Effect.Effect<Connection.Connection, SqlError>) =>
      Effect.tap(acquired, (connection) => Effect.sync(() => ownConnections.set(sql.reserve, connection)))
    const reserved = note(outside(Effect.scoped(sql.reserve)))
    return sql.onDialectOrElse({
      pg: () => {
        const acquirer: unknown = Reflect.get(sql`SELECT 1`, "acquirer")
        return Effect.tap(
          isAcquirer(acquirer) ? note(outside(Effect.scoped(acquirer))) : reserved,
          (connection) => Effect.sync(() => Course.follow(connection))
        )
      },
      orElse: () =>
        Option.match(outer, {
          onNone: () => reserved,
          onSome: ([connection]) =>
            Effect.timeoutTo(reserved, {
              duration: "100 millis",
              onSuccess: (connection) => connection,
              onTimeout: () => connection
            }).pipe(Effect.withClock(liveClock))
        })
    })
  })

// all copies of a client share what it reserves its connections by
const ownConnections = new WeakMap<SqlClient.SqlClient["reserve"], Connection.Connection>()

const isAcquirer = (value: unknown): value is Connection.Connection.Acquirer => Effect.isEffect(value)

// -------------------------------------------------------------------------------------
// retries
// -------------------------------------------------------------------------------------

const busySchedule = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.union(Schedule.spaced("25 millis")),
  Schedule.jittered,
  Schedule.upTo("5 seconds")
)

// a server that restarts is back within seconds; one that is gone should be reported before its callers give up
const serverSchedule = Schedule.exponential("5 millis", 2).pipe(
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(8)),
  Schedule.upTo("2 seconds")
)

const whileKind = (kinds: ReadonlyArray<ReturnType<typeof classify>["kind"]>, schedule: Schedule.Schedule<unknown>) => {
  const fits = (error: unknown): boolean => error instanceof SqlError && kinds.includes(classify(error).kind)
  return <A, E>(effect: Effect.Effect<A, E | SqlError>): Effect.Effect<A, E | SqlError> =>
    Effect.catchAll(effect, (error) =>
      fits(error)
        ? Effect.retry(effect, { schedule, while: fits }).pipe(Effect.withClock(liveClock))
        : Effect.fail(error))
}

/**
 * Asks a busy SQLite again, without blocking the event loop as SQLite's own busy handler does.
 *
 * @internal
 */
export const whileBusy: Run = whileKind(["Busy"], busySchedule)

const whileTransient = whileKind(["Transient"], serverSchedule)

const whileLost = whileKind(["Transient", "ConnectionLost"], serverSchedule)

const whileUndone: Run = (effect) => whileTransient(whileBusy(effect))

const whileUndoneOrLost: Run = (effect) =>
  Effect.catchAll(effect, (error) => isRepeatable(error) ? whileLost(whileBusy(effect)) : Effect.fail(error))

// most failures would be the same again
const isRepeatable = (error: unknown): boolean =>
  error instanceof SqlError && ["Busy", "Transient", "ConnectionLost"].includes(classify(error).kind)
