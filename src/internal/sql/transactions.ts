// Begins transactions of a client, and distinguishes them from those of other clients. PostgreSQL has our own
// transaction, which fails where the client's transaction dies. SQLite has the client's transaction, on the connection
// that Sqlite.layer has prepared.
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import { liveClock } from "../liveClock.js"
import * as PgTransaction from "./postgres/transaction.js"
import * as TransactionState from "./postgres/transactionState.js"
import * as SqliteConnection from "./sqlite/connection.js"

/** Runs an effect in a new transaction. A failed `BEGIN` or `COMMIT` is a failure, and does not end the fiber. */
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

/** Runs an effect in a new transaction of a client, or in one nested in that which is open. */
export const beginOrNest = <A, E, R, F>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  failed: PgTransaction.Failed<F>
): Effect.Effect<A, E | F, R> =>
  Effect.contextWithEffect((context: Context.Context<R>): Effect.Effect<A, E | F, R> => {
    const open = Context.getOption(context, SqlClient.TransactionConnection)
    if (Option.isNone(open)) return begin(sql, effect, failed)
    return belongs(sql).pipe(
      Effect.mapError((error) => failed("NotBegun", error)),
      Effect.flatMap((isOwn) => {
        if (!isOwn(open.value[0])) return begin(sql, effect, failed)
        return sql.onDialectOrElse({
          pg: () => PgTransaction.nested(open.value, effect, failed),
          orElse: () => typedTransaction(sql, effect, failed)
        })
      })
    )
  })

/** Runs an effect by the client's own `withTransaction`. */
const typedTransaction = <A, E, R, F>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  failed: PgTransaction.Failed<F>
): Effect.Effect<A, E | F, R> =>
  Effect.suspend(() => {
    let ended: Exit.Exit<A, E> | undefined
    const body = Effect.onExit(effect, (exit) => Effect.sync(() => ended = exit))
    return Effect.catchAllCause(sql.withTransaction(body), (cause): Effect.Effect<never, E | F> => {
      // the effect failed, and so does this
      if (ended !== undefined && Exit.isFailure(ended)) return Effect.failCause(ended.cause)
      if (Cause.isInterruptedOnly(cause)) return Effect.interrupt
      const error = Cause.squash(cause)
      const message = "Failed to begin or to end the transaction"
      const known = error instanceof SqlError ? error : new SqlError({ cause: error, message })
      return Effect.fail(failed(ended === undefined ? "NotBegun" : PgTransaction.afterCommit(known), known))
    })
  })

/** Runs an effect outside of the open transaction. */
export const outside = <A, E>(context: Context.Context<never>, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.mapInputContext(effect, (_: Context.Context<never>) => Context.omit(SqlClient.TransactionConnection)(context))

/** Tells whether a connection is a client's: on SQLite that of an open transaction, on PostgreSQL one of its class. */
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
 * A connection of the client, to know its transactions by. A store may be built inside a transaction. SQLite then gives its
 * one connection at the end of the transaction, if that is one of this client, and at once if not. The pool of PostgreSQL
 * may have no other connection either: there the object does as well that runs the statements outside of transactions.
 */
const ownConnection = (sql: SqlClient.SqlClient): Effect.Effect<Connection.Connection, SqlError> =>
  Effect.contextWithEffect((context: Context.Context<never>) => {
    const known = ownConnections.get(sql.reserve)
    if (known !== undefined) return Effect.succeed(known)
    const note = (acquired: Effect.Effect<Connection.Connection, SqlError>) =>
      Effect.tap(acquired, (connection) => Effect.sync(() => ownConnections.set(sql.reserve, connection)))
    const reserved = note(outside(context, Effect.scoped(sql.reserve)))
    return sql.onDialectOrElse({
      pg: () => {
        const acquirer: unknown = Reflect.get(sql`SELECT 1`, "acquirer")
        return Effect.tap(
          isAcquirer(acquirer) ? note(outside(context, Effect.scoped(acquirer))) : reserved,
          (connection) => Effect.sync(() => TransactionState.follow(connection))
        )
      },
      orElse: () =>
        Option.match(Context.getOption(context, SqlClient.TransactionConnection), {
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

// all copies of a client share the effect that reserves its connections
const ownConnections = new WeakMap<SqlClient.SqlClient["reserve"], Connection.Connection>()

const isAcquirer = (value: unknown): value is Connection.Connection.Acquirer => Effect.isEffect(value)
