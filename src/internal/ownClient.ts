import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { classify } from "./sqlFailure.js"

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
   * Runs statements on this client, inside the caller's transaction if that is one of this client: the tag of an open
   * transaction is the same for all clients, so that the statements of one would run on the connection of another.
   * A database that is busy is asked again for a while.
   */
  readonly run: <A, E>(effect: Effect.Effect<A, E | SqlError>) => Effect.Effect<A, E | SqlError>
  /** Whether the caller is inside a transaction of this client. */
  readonly inTransaction: Effect.Effect<boolean>
}

/** @internal */
export const make: Effect.Effect<OwnClient, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const identity = yield* SqlClient.SqlClient
  const sql = identity.withoutTransforms()
  const outer = yield* Effect.serviceOption(SqlClient.TransactionConnection)
  const own: Connection.Connection = Option.isSome(outer) ? outer.value[0] : yield* Effect.scoped(sql.reserve)

  // SQLite has one connection; the pool of PostgreSQL makes them all of a class that belongs to the client
  const isOwn = (connection: Connection.Connection): boolean =>
    connection === own || (own.constructor !== Object && connection.constructor === own.constructor)
  const openTransaction = (context: Context.Context<never>): "None" | "Own" | "Foreign" => {
    const transaction = Context.getOption(context, SqlClient.TransactionConnection)
    return Option.isNone(transaction) ? "None" : isOwn(transaction.value[0]) ? "Own" : "Foreign"
  }

  return {
    sql,
    identity,
    run: (effect) =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        switch (openTransaction(context)) {
          case "None":
            return whileBusy(effect)
          case "Own":
            return effect
          case "Foreign":
            return whileBusy(
              Effect.mapInputContext(effect, (_: Context.Context<never>) =>
                Context.omit(SqlClient.TransactionConnection)(context))
            )
        }
      }).pipe(Effect.withTracerEnabled(false)),
    inTransaction: Effect.contextWith((context: Context.Context<never>) => openTransaction(context) === "Own")
  }
})

// real time, also where a test has stopped the clock: it is another process that is waited for
const liveClock = Clock.make()

const busySchedule = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.union(Schedule.spaced("25 millis")),
  Schedule.jittered,
  Schedule.upTo("5 seconds")
)

/**
 * Asks a busy SQLite again, without blocking the event loop as SQLite's own busy handler does.
 *
 * @internal
 */
export const whileBusy = <A, E>(effect: Effect.Effect<A, E | SqlError>): Effect.Effect<A, E | SqlError> =>
  Effect.catchAll(effect, (error) =>
    isBusy(error)
      ? Effect.retry(effect, { schedule: busySchedule, while: isBusy }).pipe(Effect.withClock(liveClock))
      : Effect.fail(error))

const isBusy = (error: unknown): boolean => error instanceof SqlError && classify(error).kind === "Busy"
