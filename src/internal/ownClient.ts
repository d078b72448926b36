import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { pgText } from "./pgText.js"
import { classify } from "./sqlFailure.js"
import * as SqliteConnection from "./sqliteConnection.js"

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
  const identity = yield* SqlClient.SqlClient
  const sql = identity.withoutTransforms()
  const sqlite = SqliteConnection.of(identity)
  const own = sqlite === undefined ? yield* ownConnection(sql) : sqlite.shared

  // a client of SQLite has one connection; the pool of PostgreSQL makes them all of a class that belongs to the client
  const isOwn = sqlite !== undefined
    ? sqlite.isOpen
    : (connection: Connection.Connection): boolean =>
      connection === own || (own.constructor !== Object && connection.constructor === own.constructor)

  const runWith = (options: {
    readonly retry: Run
    readonly inTransaction: <A, E>(
      effect: Effect.Effect<A, E | SqlError>,
      connection: Connection.Connection
    ) => Effect.Effect<A, E | SqlError>
  }): Run =>
  (effect) =>
    Effect.contextWithEffect((context: Context.Context<never>) => {
      const transaction = Context.getOption(context, SqlClient.TransactionConnection)
      if (Option.isNone(transaction)) return options.retry(effect)
      const [connection] = transaction.value
      return isOwn(connection)
        ? options.inTransaction(effect, connection)
        : options.retry(
          Effect.mapInputContext(effect, (_: Context.Context<never>) =>
            Context.omit(SqlClient.TransactionConnection)(context))
        )
    })

  const runUndone = runWith({ retry: whileUndone, inTransaction: (effect) => effect })

  // a span for every statement, and the compiler, cost more than the statement
  const executeWith = <A>(
    onConnection: (connection: Connection.Connection) => Effect.Effect<A, SqlError>,
    statement: () => Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> => {
    const otherwise = Effect.suspend(() => Effect.withTracerEnabled(statement(), false))
    return Effect.withFiberRuntime((fiber) => {
      if (Option.isNone(fiber.getFiberRef(Statement.currentTransformer))) {
        const transaction = Context.getOption(fiber.currentContext, SqlClient.TransactionConnection)
        if (Option.isSome(transaction)) return onConnection(transaction.value[0])
        if (sqlite !== undefined) return onConnection(own)
      }
      return otherwise
    })
  }
  const execute: OwnClient["execute"] = <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
    executeWith<ReadonlyArray<Row>>(
      (connection) => connection.execute(text, params, undefined),
      () => sql.unsafe<Row>(text, params)
    )

  const begin = <A, E>(effect: Effect.Effect<A, E | SqlError>): Effect.Effect<A, E | SqlError> =>
    Effect.suspend(() => {
      let died = false
      const body = Effect.onExit(effect, (exit) =>
        Effect.sync(() => {
          died = Exit.isFailure(exit) && Cause.isDie(exit.cause)
        }))
      return Effect.catchAllDefect(sql.withTransaction(body), (defect) =>
        died
          ? Effect.die(defect)
          : new SqlError({ cause: defect, message: "Failed to begin or to end the transaction" }))
    })

  return {
    sql,
    identity,
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
        if (Option.isNone(transaction)) return begin(effect)
        return isOwn(transaction.value[0])
          ? effect
          // the tag of the other client's must be gone before this one's is set
          : Effect.mapInputContext(begin(effect), (_: Context.Context<never>) =>
            Context.omit(SqlClient.TransactionConnection)(context))
      }).pipe(Effect.withTracerEnabled(false)),
    run: (effect) => Effect.withTracerEnabled(runUndone(effect), false),
    repeat: runWith({ retry: whileUndoneOrLost, inTransaction: (effect) => effect }),
    attempt: runWith({
      retry: whileUndoneOrLost,
      // a statement that fails on SQLite undoes itself and nothing else
      inTransaction: sql.onDialectOrElse({
        pg: () => inSavepoint,
        orElse: () => (effect) => effect
      })
    }),
    inTransaction: Effect.contextWith((context: Context.Context<never>) =>
      Option.exists(Context.getOption(context, SqlClient.TransactionConnection), ([connection]) => isOwn(connection))
    )
  }
})

/**
 * A connection of the client, to know its transactions by. A store may be built inside a transaction: SQLite gives its one
 * connection only when that ends, if it is one of this client, and at once if it is not.
 */
const ownConnection = (sql: SqlClient.SqlClient): Effect.Effect<Connection.Connection, SqlError> =>
  Effect.contextWithEffect((context: Context.Context<never>) => {
    const outer = Context.getOption(context, SqlClient.TransactionConnection)
    const reserved = Effect.scoped(sql.reserve).pipe(
      Effect.mapInputContext((_: Context.Context<never>) => Context.omit(SqlClient.TransactionConnection)(context))
    )
    if (Option.isNone(outer)) return reserved
    const [connection] = outer.value
    return sql.onDialectOrElse({
      pg: () => reserved,
      orElse: () =>
        Effect.timeoutTo(reserved, {
          duration: "100 millis",
          onSuccess: (connection) => connection,
          onTimeout: () => connection
        }).pipe(Effect.withClock(liveClock))
    })
  })

// -------------------------------------------------------------------------------------
// retries
// -------------------------------------------------------------------------------------

/**
 * Real time, also where a test has stopped the clock: it is another process that is waited for.
 *
 * @internal
 */
export const liveClock: Clock.Clock = Clock.make()

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

// the schedules are not even looked at by what goes through
const whileUndoneOrLost: Run = (effect) => Effect.catchAll(effect, () => whileLost(whileBusy(effect)))

// -------------------------------------------------------------------------------------
// savepoints
// -------------------------------------------------------------------------------------

const permits = new WeakMap<Connection.Connection, Effect.Semaphore>()

// fibers that share a transaction must not roll back to each other's savepoints
const permitOf = (connection: Connection.Connection): Effect.Semaphore => {
  const found = permits.get(connection)
  if (found !== undefined) return found
  const made = Effect.unsafeMakeSemaphore(1)
  permits.set(connection, made)
  return made
}

/**
 * On PostgreSQL a failed statement aborts the transaction around it. The client's own nested transactions turn a failure
 * to roll back, after a lost connection, into a defect; here the first failure stays what is reported.
 */
const inSavepoint = <A, E>(
  effect: Effect.Effect<A, E | SqlError>,
  connection: Connection.Connection
): Effect.Effect<A, E | SqlError> => {
  const execute = (...statements: ReadonlyArray<string>) =>
    connection.executeUnprepared(statements.join("; "), [], undefined)
  return permitOf(connection).withPermits(1)(
    Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(execute("SAVEPOINT eventsourcing", ...boundWaiting), Effect.exit(restore(effect))).pipe(
        Effect.flatMap((exit) =>
          Exit.isSuccess(exit)
            ? Effect.as(execute(waitAsBefore, "RELEASE SAVEPOINT eventsourcing"), exit.value)
            : Effect.zipRight(
              Effect.ignore(execute("ROLLBACK TO SAVEPOINT eventsourcing", "RELEASE SAVEPOINT eventsourcing")),
              exit
            )
        )
      )
    )
  )
}

// nobody gives up on a statement in a transaction and goes on: what waits for a lock must end by itself. The setting of
// the caller's is kept in one of our own, and comes back with the savepoint's end, whichever it is
const boundWaiting = [
  `SELECT ${pgText("set_config('eventsourcing.lock_timeout', current_setting('lock_timeout'), true)", "text")}`,
  "SET LOCAL lock_timeout = '2s'"
]

const waitAsBefore = `SELECT ${
  pgText("set_config('lock_timeout', current_setting('eventsourcing.lock_timeout'), true)", "text")
}`
