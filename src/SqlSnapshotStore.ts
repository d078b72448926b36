/**
 * The snapshot store on any `SqlClient` of a known dialect: SQLite or PostgreSQL.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { classify } from "./internal/sql/failure.js"
import { withoutRows } from "./internal/sql/failureText.js"
import { identifier } from "./internal/sql/names.js"
import { pgText } from "./internal/sql/postgres/text.js"
import * as Row from "./internal/sql/row.js"
import { setUp } from "./internal/sql/setUp.js"
import * as SnapshotChoice from "./internal/sql/snapshotChoice.js"
import * as SnapshotTables from "./internal/sql/snapshotTables.js"
import type { InvalidOption } from "./InvalidOption.js"
import type * as Snapshot from "./Snapshot.js"
import * as SnapshotStore from "./SnapshotStore.js"
import type * as SqlMigrations from "./SqlMigrations.js"
import type * as StreamId from "./StreamId.js"

/**
 * Creates the tables where they are missing, and gives the store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (
  options?: SqlMigrations.Options
) => Effect.Effect<
  SnapshotStore.SnapshotStore["Type"],
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = Effect.fnUntraced(function*(options) {
  const { client, names } = yield* setUp(options)
  const { attempt, attemptBriefly, identity, query, repeat, sql } = client
  const table = identifier(sql, names.snapshots)

  const failure =
    (operation: SnapshotStore.SnapshotStoreError["operation"], aggregate: string, id?: string) => (error: SqlError) => {
      const { detail, kind } = classify(error)
      return new SnapshotStore.SnapshotStoreError({
        operation,
        aggregate,
        ...(id === undefined ? {} : { id }),
        reason: kind === "Refused" ? "Refused" : "Unavailable",
        detail,
        cause: withoutRows(error)
      })
    }
  const ofStream = (stream: StreamId.StreamId) =>
    sql.and([sql`aggregate = ${stream.aggregate}`, sql`stream_id = ${stream.id}`])
  const ofSchemaVersion = (schemaVersion: number | undefined) =>
    schemaVersion === undefined ? [] : [sql`schema_version = ${schemaVersion}`]
  const columns = sql.literal(
    Object.entries(types).map(([name, type]) =>
      sql.onDialectOrElse({ pg: () => `${pgText(name, type)} AS ${name}`, orElse: () => name })
    ).join(", ")
  )

  const store = SnapshotStore.makeEncoded(SnapshotStore.SnapshotStore.of({
    get: (stream, options) =>
      // a load must not fail with it, nor a transaction
      attempt(query(
        sql<Columns>`SELECT ${columns} FROM ${table} WHERE ${ofStream(stream)}
  AND schema_version = ${SnapshotChoice.schemaVersionOf(sql, table, ofStream(stream), options)}`
      )).pipe(
        Effect.mapBoth({
          onFailure: failure("get", stream.aggregate, stream.id),
          onSuccess: ([row]) => Option.map(Option.fromNullable(row), (row) => toSnapshot(stream, row))
        })
      ),

    save: (snapshot) =>
      attemptBriefly(query(
        sql`INSERT INTO ${table} AS existing
  (aggregate, stream_id, schema_version, version, event_id, fingerprint, state, time)
VALUES (${snapshot.stream.aggregate}, ${snapshot.stream.id}, ${snapshot.schemaVersion}, ${snapshot.version},
  ${snapshot.eventId}, ${snapshot.fingerprint}, ${snapshot.state}, ${snapshot.time})
ON CONFLICT (aggregate, stream_id, schema_version) DO UPDATE SET version = excluded.version,
  event_id = excluded.event_id, fingerprint = excluded.fingerprint, state = excluded.state, time = excluded.time
WHERE excluded.version > existing.version
RETURNING NULL AS saved`
      )).pipe(
        Effect.mapBoth({
          onFailure: failure("save", snapshot.stream.aggregate, snapshot.stream.id),
          onSuccess: (rows) => rows.length === 0 ? "Superseded" : "Saved"
        })
      ),

    delete: (stream, options) =>
      attemptBriefly(query(
        sql`DELETE FROM ${table} WHERE ${
          sql.and([
            ofStream(stream),
            ...ofSchemaVersion(options?.schemaVersion),
            ...(options?.identity === undefined
              ? []
              : [sql`version = ${options.identity.version}`, sql`event_id = ${options.identity.eventId}`])
          ])
        } RETURNING NULL AS deleted`
      )).pipe(
        Effect.mapBoth({
          onFailure: failure("delete", stream.aggregate, stream.id),
          onSuccess: (rows) => rows.length
        })
      ),

    exists: (stream, options) =>
      repeat(query(
        sql`SELECT NULL AS found FROM ${table} WHERE ${
          sql.and([ofStream(stream), ...ofSchemaVersion(options?.schemaVersion)])
        } LIMIT 1`
      )).pipe(
        Effect.mapBoth({
          onFailure: failure("exists", stream.aggregate, stream.id),
          onSuccess: (rows) => rows.length > 0
        })
      ),

    deleteByType: (aggregate, options) => {
      const condition = sql.and([
        sql`aggregate = ${aggregate}`,
        ...(options?.schemaVersionBelow === undefined
          ? []
          : [sql`schema_version < ${options.schemaVersionBelow}`])
      ])
      const count = sql.literal(
        sql.onDialectOrElse({ pg: () => pgText("count(*)", "bigint"), orElse: () => "count(*)" })
      )
      const counted = (statement: Statement.Statement<{ readonly count: unknown }>) =>
        Effect.map(attemptBriefly(query(statement)), ([row]) => Row.number(row.count))
      const statement = options?.dryRun === true
        ? counted(sql`SELECT ${count} AS count FROM ${table} WHERE ${condition}`)
        : sql.onDialectOrElse({
          pg: () =>
            counted(sql`WITH deleted AS (DELETE FROM ${table} WHERE ${condition} RETURNING 1)
SELECT ${count} AS count FROM deleted`),
          // here a DELETE gives its count only as rows; nothing but their number is used
          orElse: () =>
            Effect.map(
              attemptBriefly(query(sql`DELETE FROM ${table} WHERE ${condition} RETURNING 1`)),
              (rows) => rows.length
            )
        })
      return Effect.mapError(statement, failure("deleteByType", aggregate))
    }
  }))
  return SnapshotTables.register(store, { identity, name: names.snapshots })
})

/**
 * The snapshot store with its options.
 *
 * @example
 * ```ts
 * import { SqlSnapshotStore } from "effect-eventsourcing"
 *
 * const SnapshotStoreLive = SqlSnapshotStore.layerWith({ prefix: "bank" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: SqlMigrations.Options
): Layer.Layer<SnapshotStore.SnapshotStore, InvalidOption | SqlMigrations.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(SnapshotStore.SnapshotStore, make(options))

/**
 * The snapshot store in tables that begin with `eventsourcing_`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  SnapshotStore.SnapshotStore,
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = layerWith({})

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const types = {
  version: "integer",
  event_id: "text",
  schema_version: "integer",
  fingerprint: "text",
  state: "text",
  time: "bigint"
} as const

type Columns = Readonly<Record<keyof typeof types, unknown>>

const toSnapshot = (stream: StreamId.StreamId, row: Columns): Snapshot.EncodedSnapshot => ({
  stream,
  version: Row.number(row.version),
  eventId: Row.text(row.event_id),
  schemaVersion: Row.number(row.schema_version),
  fingerprint: Row.text(row.fingerprint),
  state: Row.text(row.state),
  time: Row.number(row.time)
})
