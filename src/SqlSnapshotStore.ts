/**
 * The snapshot store on any `SqlClient` of a known dialect: SQLite or PostgreSQL.
 *
 * It keeps one row for each stream and schema version. Each operation is one statement. A load with a SQL event store
 * on the same client does not call this store: one statement reads both tables.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { classify, withoutRows } from "./internal/sql/failure.js"
import * as Row from "./internal/sql/row.js"
import { setUp } from "./internal/sql/setUp.js"
import * as SnapshotRows from "./internal/sql/snapshotRows.js"
import * as Spans from "./internal/sql/spans.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as SnapshotStore from "./SnapshotStore.js"
import type * as SqlMigrations from "./SqlMigrations.js"

/**
 * Creates missing tables and returns the store.
 *
 * @example
 * ```ts
 * import { SnapshotStore, SqlSnapshotStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const SnapshotStoreLive = Layer.effect(SnapshotStore.SnapshotStore, SqlSnapshotStore.make({ prefix: "bank" }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: SqlMigrations.Options) => Effect.Effect<
  SnapshotStore.SnapshotStore["Type"],
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = Effect.fnUntraced(function*(options) {
  const { client, dialect, names } = yield* setUp(options)
  const { attempt, attemptBriefly, execute, identity, repeat } = client
  const statements = SnapshotRows.statements(dialect, names)
  const span = Spans.make(client.sql)
  const collection = names.snapshots
  const store = SnapshotStore.makeEncoded(SnapshotStore.SnapshotStore.of({
    get: span("SnapshotStore.get", (stream, options) =>
      // its failure must not fail a load, nor the transaction of a caller
      Effect.mapBoth(attempt(execute(statements.get({ ...options, stream }))), {
        onFailure: failure("get", stream.aggregate, stream.id),
        onSuccess: ([row]) => Option.map(Option.fromNullable(row), (row) => SnapshotRows.decode(stream, row))
      }), (stream, options) => ({
        name: "SELECT",
        collection,
        stream,
        query: statements.get({ ...options, stream })
      })),
    save: span("SnapshotStore.save", (snapshot) =>
      Effect.mapBoth(attemptBriefly(execute(statements.save(snapshot))), {
        onFailure: failure("save", snapshot.stream.aggregate, snapshot.stream.id),
        onSuccess: (rows) => rows.length === 0 ? "Superseded" : "Saved"
      }), (snapshot) => ({
        name: "INSERT",
        collection,
        stream: snapshot.stream,
        query: statements.save(snapshot),
        attributes: { "eventsourcing.version": snapshot.version },
        result: (outcome) => ({ "eventsourcing.outcome": outcome })
      })),
    delete: span(
      "SnapshotStore.delete",
      (stream, options) =>
        Effect.mapBoth(attemptBriefly(execute(statements.delete(stream, options))), {
          onFailure: failure("delete", stream.aggregate, stream.id),
          onSuccess: (rows) => rows.length
        }),
      (stream, options) => ({
        name: "DELETE",
        collection,
        stream,
        query: statements.delete(stream, options)
      })
    ),
    exists: (stream, options) =>
      Effect.mapBoth(repeat(execute(statements.exists(stream, options?.schemaVersion))), {
        onFailure: failure("exists", stream.aggregate, stream.id),
        onSuccess: (rows) => rows.length > 0
      }),
    deleteByType: (aggregate, options) =>
      Effect.mapBoth(attemptBriefly(execute(statements.deleteByType(aggregate, options))), {
        onFailure: failure("deleteByType", aggregate),
        onSuccess: (rows) => Row.number(rows[0]?.count ?? rows.length)
      })
  }))
  return new SnapshotRows.StoreWithTable(store, { client: identity, name: names.snapshots })
})

/**
 * Provides the snapshot store with options. `SqlStores.layerWith` provides all stores with the same options.
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
 * Provides the snapshot store in tables that begin with `eventsourcing_`.
 *
 * @example
 * ```ts
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Sqlite, SqlSnapshotStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const SqliteLive = Sqlite.layer(SqliteClient.layer, { filename: "snapshots.db" })
 * const SnapshotStoreLive = Layer.provide(SqlSnapshotStore.layer, SqliteLive)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = layerWith({})

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
