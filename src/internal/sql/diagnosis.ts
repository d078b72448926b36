// What an operator wants to know of a database: its settings, the rights of the user, and what holds the feed back.
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { InvalidOption } from "../../InvalidOption.js"
import * as Migrate from "./migrate.js"
import * as Tables from "./names.js"
import * as Row from "./row.js"

export interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly detail: string
}

export const run = (options: {
  readonly prefix: string
}): Effect.Effect<ReadonlyArray<Finding>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const names = yield* Tables.names(options)
    return yield* sql.onDialectOrElse({ pg: () => onPostgres(sql, names), orElse: () => onSqlite(sql) })
  })

/** By how many migrations the tables are newer than this program. */
export const newerBy = (options: {
  readonly prefix: string
}): Effect.Effect<number, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const { all, applied } = Migrate.dialectOf(sql, yield* Tables.names(options))
    return Math.max(0, (yield* applied) - all.length)
  })

/** The aggregates that have events, in the order of their names. Each costs one look into an index. */
export const aggregates = (options: {
  readonly prefix: string
}): Effect.Effect<ReadonlyArray<string>, SqlError | InvalidOption, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const { events } = yield* Tables.names(options)
    const rows = yield* sql.unsafe<Row.Row>(`WITH RECURSIVE names (name) AS (
  SELECT min(aggregate) FROM ${Tables.quoted(events)}
  UNION ALL
  SELECT (SELECT min(aggregate) FROM ${Tables.quoted(events)} WHERE aggregate > names.name)
  FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL`)
    return rows.map(({ name }) => Row.text(name))
  })

// on PostgreSQL

const onPostgres = (sql: SqlClient.SqlClient, names: Tables.Names): Effect.Effect<ReadonlyArray<Finding>, SqlError> =>
  Effect.map(
    Effect.all([settings(sql), rights(sql, names), size(sql, names), holders(sql), prepared(sql)]),
    (findings) => findings.flat()
  )

/** Settings with which the server could lose what it has acknowledged. */
const durable = ["fsync", "full_page_writes", "synchronous_commit"]

const settings = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql.unsafe<Row.Row>("SELECT name, setting FROM pg_settings WHERE name = 'server_version' OR name = ANY($1)", [
      durable
    ]),
    (rows) =>
      rows.map(({ name, setting }): Finding =>
        name === "server_version"
          ? { check: "server", ok: true, detail: `PostgreSQL ${Row.text(setting)}` }
          : {
            check: Row.text(name),
            ok: setting !== "off",
            detail: setting !== "off" ? Row.text(setting) : "off: a crash may lose events that were acknowledged"
          }
      )
  )

const rights = (sql: SqlClient.SqlClient, names: Tables.Names) => {
  const all = "SELECT,INSERT,UPDATE,DELETE".split(",")
  const needed: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    [names.events, ["SELECT", "INSERT"]],
    ...[names.snapshots, names.archive, names.subscriptions, names.checkpoints, names.parked, names.members].map((
      table
    ) => [table, all] as const)
  ]
  return Effect.forEach(needed, ([table, privileges]) =>
    Effect.map(
      sql.unsafe<Row.Row>(
        "SELECT privilege FROM unnest($2::text[]) AS privilege WHERE NOT has_table_privilege($1::text, privilege)",
        [Tables.quoted(table), privileges]
      ),
      (missing): Finding => ({
        check: `rights on ${table}`,
        ok: missing.length === 0,
        detail: missing.length === 0
          ? privileges.join(", ")
          : `the user lacks ${missing.map(({ privilege }) => Row.text(privilege)).join(", ")}`
      })
    ))
}

const size = (sql: SqlClient.SqlClient, names: Tables.Names) =>
  Effect.map(
    sql.unsafe<Row.Row>(
      "SELECT reltuples::bigint AS rows, pg_total_relation_size(oid) AS bytes FROM pg_class WHERE oid = $1::text::regclass",
      [Tables.quoted(names.events)]
    ),
    ([row]): ReadonlyArray<Finding> => [{
      check: names.events,
      ok: true,
      detail: `${megabytes(Row.number(row.bytes))} with indexes, about ${Math.max(0, Row.number(row.rows))} events`
    }]
  )

/** A transaction that writes, in any database of the server, keeps later events out of the feed until it ends. */
const holders = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql.unsafe<Row.Row>(`SELECT pid, coalesce(application_name, '') AS application, coalesce(state, '') AS state,
  floor(extract(epoch FROM clock_timestamp() - xact_start))::integer AS seconds
FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 1`),
    ([row]): ReadonlyArray<Finding> => [
      row === undefined
        ? { check: "held-back feed", ok: true, detail: "no transaction holds the feed back" }
        : {
          check: "held-back feed",
          ok: Row.number(row.seconds) < 10,
          detail: `process ${Row.number(row.pid)} (${Row.text(row.application)}, ${Row.text(row.state)}) has had a ` +
            `transaction that writes open for ${Row.number(row.seconds)} s`
        }
    ]
  )

const prepared = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql.unsafe<Row.Row>(
      "SELECT count(*)::integer AS count, floor(extract(epoch FROM clock_timestamp() - min(prepared)))::integer AS seconds FROM pg_prepared_xacts"
    ),
    ([row]): ReadonlyArray<Finding> =>
      Row.number(row.count) === 0 ? [] : [{
        check: "prepared transactions",
        ok: false,
        detail:
          `${Row.number(row.count)} wait for COMMIT PREPARED, the first for ${Row.number(row.seconds)} s, and hold ` +
          "the feed back"
      }]
  )

// on SQLite

const onSqlite = (sql: SqlClient.SqlClient): Effect.Effect<ReadonlyArray<Finding>, SqlError> =>
  Effect.gen(function*() {
    const [{ version }] = yield* sql.unsafe<Row.Row>("SELECT sqlite_version() AS version")
    const [{ journal_mode: mode }] = yield* sql.unsafe<Row.Row>("PRAGMA journal_mode")
    const [{ page_count: pages }] = yield* sql.unsafe<Row.Row>("PRAGMA page_count")
    const [{ page_size: bytes }] = yield* sql.unsafe<Row.Row>("PRAGMA page_size")
    const check = yield* sql.unsafe<Row.Row>("PRAGMA quick_check(1)")
    const found = Row.text(Object.values(check[0] ?? { ok: "ok" })[0])
    return [
      { check: "library", ok: true, detail: `SQLite ${Row.text(version)}` },
      {
        check: "journal",
        ok: mode === "wal",
        detail: mode === "wal"
          ? "wal"
          : `${Row.text(mode)}: readers and writers wait for each other; Sqlite.layer sets wal`
      },
      { check: "size", ok: true, detail: megabytes(Row.number(pages) * Row.number(bytes)) },
      { check: "quick_check", ok: found === "ok", detail: found }
    ]
  })

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
