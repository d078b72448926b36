// Creates the tables of the cluster before its storages are built, in one process at a time.
// Mechanism: the storages of @effect/cluster create their tables when they are built, and two processes that do so at the
// same time fail. A process that finds tables missing takes a lock of the database, builds the storages once, and drops
// them again.
// Cost: one statement if the tables exist.
import type { ShardingConfig } from "@effect/cluster/ShardingConfig"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "@effect/cluster/SqlRunnerStorage"
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

/** The beginning of the names of the cluster's tables: other than those of the stores. */
export const prefixOf = (prefix: string): string => `${prefix}_cluster`

export const create = (
  prefix: string
): Effect.Effect<void, SqlError, SqlClient.SqlClient | ShardingConfig> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    if (yield* exist(sql, prefix)) return
    const build = Effect.scoped(Layer.build(storages(prefix))).pipe(
      // the storages are built by statements that fail as defects
      Effect.catchAllDefect((cause) =>
        new SqlError({ cause, message: "the tables of the cluster could not be created" })
      ),
      Effect.asVoid
    )
    yield* sql.onDialectOrElse({
      pg: () => locked(sql, prefix, build),
      orElse: () => Effect.retry(build, Schedule.recurs(5))
    })
  }).pipe(Effect.withTracerEnabled(false))

const storages = (prefix: string) =>
  Layer.merge(SqlMessageStorage.layerWith({ prefix }), SqlRunnerStorage.layerWith({ prefix }))

const exist = (sql: SqlClient.SqlClient, prefix: string): Effect.Effect<boolean> => {
  const found = (table: string) => sql`SELECT 1 FROM ${sql(`${prefix}_${table}`)} LIMIT 1`
  return Effect.forEach(["replies", "messages", "runners", "locks"], found, { discard: true }).pipe(Effect.isSuccess)
}

/** Asks for the lock again and again: a statement that waits for it would hold back the server's vacuum. */
const locked = <A, E, R>(
  sql: SqlClient.SqlClient,
  prefix: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* sql.reserve
    yield* Effect.acquireRelease(
      Effect.repeat(ask(connection, "pg_try_advisory_lock", prefix), {
        until: (taken) => taken,
        schedule: Schedule.spaced("50 millis")
      }),
      () => Effect.ignore(ask(connection, "pg_advisory_unlock", prefix))
    ).pipe(Effect.interruptible)
    return yield* effect
  })).pipe(
    Effect.timeoutFail({
      duration: "1 minute",
      onTimeout: () =>
        new SqlError({
          cause: new Error("the pool may be too small: creating the tables takes three connections"),
          message: "the tables of the cluster were not created within a minute"
        })
    })
  )

const ask = (connection: Connection.Connection, lock: string, prefix: string): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    connection.executeValues(`SELECT ${lock}(hashtext('effect-eventsourcing'), hashtext($1))`, [prefix]),
    ([[answer]]) => answer === true
  )
