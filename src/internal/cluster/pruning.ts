// Removes the messages of persisted commands that were answered long ago, which the cluster itself keeps for ever.
// Mechanism: a singleton of the cluster removes a bounded number of them at a time. If two processes do so for a moment,
// each removes other rows, or none.
// Cost: one statement each time, by the primary key: the id of a message begins with its time.
import { constEpochMillis } from "@effect/cluster/Snowflake"
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Telemetry from "./telemetry.js"

export interface Settings {
  readonly keep: Duration.DurationInput
  readonly every: Duration.DurationInput
  readonly limit: number
}

/** Removes at most `limit` messages that are older than `keep`. Returns how many it removed. */
export const prune = (
  sql: SqlClient.SqlClient,
  prefix: string,
  { keep, limit }: Pick<Settings, "keep" | "limit">
): Effect.Effect<number, SqlError> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const timestamp = Math.floor(now - Duration.toMillis(keep))
    // the id of a message has its time above the lower 22 bits
    const before = String(BigInt(timestamp - constEpochMillis) << 22n)
    const messages = sql(`${prefix}_messages`)
    const replies = sql(`${prefix}_replies`)
    const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
    const done = (table: string) => sql.literal(isPostgres ? `${table}.processed` : `${table}.processed = 1`)
    // an interruption that came after the answer stays unprocessed, and its request may be gone
    const rows = yield* sql<{ readonly id: string }>`
      SELECT CAST(m.id AS TEXT) AS id FROM ${messages} m
      WHERE m.id < ${sql.literal(before)} AND (${done("m")} OR (m.kind <> 0 AND NOT EXISTS (
        SELECT 1 FROM ${messages} r WHERE r.id = m.request_id AND NOT (${done("r")}))))
      ORDER BY m.id LIMIT ${sql.literal(String(limit))} ${sql.literal(isPostgres ? "FOR UPDATE OF m SKIP LOCKED" : "")}`
    if (rows.length === 0) return 0
    const ids = sql.literal(rows.map(({ id }) => BigInt(id).toString()).join(","))
    yield* sql`DELETE FROM ${replies} WHERE request_id IN (${ids})`
    yield* sql`DELETE FROM ${messages} WHERE id IN (${ids})`
    return rows.length
  }).pipe(sql.withTransaction, Effect.withTracerEnabled(false))

/** Prunes again and again. A failure is logged, and the next time comes all the same. */
export const forever = (sql: SqlClient.SqlClient, prefix: string, settings: Settings): Effect.Effect<void> =>
  Effect.repeat(prune(sql, prefix, settings), { while: (count) => count >= settings.limit }).pipe(
    Effect.catchAllCause(Telemetry.notPruned),
    Effect.repeat(Schedule.spaced(settings.every)),
    Effect.asVoid
  )
