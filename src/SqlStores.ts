/**
 * Provides all SQL stores in one layer, and transactions around them.
 *
 * The layer builds the stores on one client, so that one statement reads a snapshot and the events after it. A
 * transaction succeeds only if the database committed it, and costs a `BEGIN` and a `COMMIT`.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { CheckpointStore } from "./CheckpointStore.js"
import type { EventStore } from "./EventStore.js"
import { classify } from "./internal/sql/failure.js"
import type { Failed } from "./internal/sql/postgres/transaction.js"
import * as Transactions from "./internal/sql/transactions.js"
import type { InvalidOption } from "./InvalidOption.js"
import type { SnapshotStore } from "./SnapshotStore.js"
import * as SqlCheckpointStore from "./SqlCheckpointStore.js"
import * as SqlEventStore from "./SqlEventStore.js"
import type * as SqlMigrations from "./SqlMigrations.js"
import * as SqlSnapshotStore from "./SqlSnapshotStore.js"
import * as Streams from "./Streams.js"

/**
 * Provides the event store, the snapshot store, the checkpoint store and {@link Streams} with options.
 *
 * @example
 * ```ts
 * import { SqlStores } from "effect-eventsourcing"
 *
 * const StoresLive = SqlStores.layerWith({ prefix: "bank" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: SqlEventStore.Options
): Layer.Layer<
  EventStore | SnapshotStore | CheckpointStore | Streams.Streams,
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> => {
  const { groupAppends: _, groupLoads: __, ...tables } = { ...options }
  const stores = Layer.merge(SqlEventStore.layerWith(options), SqlSnapshotStore.layerWith(tables))
  return Layer.merge(Layer.provideMerge(Streams.layer, stores), SqlCheckpointStore.layerWith(tables))
}

/**
 * Provides the event store, the snapshot store, the checkpoint store and {@link Streams} in tables that begin with
 * `eventsourcing_`.
 *
 * @example
 * ```ts
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Layer } from "effect"
 * import { Sqlite, SqlStores } from "effect-eventsourcing"
 *
 * const StoresLive = Layer.provide(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename: "bank.db" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = layerWith({})

/**
 * Signals that a transaction was not committed, or that the outcome is unknown.
 *
 * - `NotBegun`: the transaction could not begin.
 * - `RolledBack`: the database rolled it back.
 * - `Unknown`: the connection was lost during the commit. The transaction may have been committed.
 *
 * @example
 * ```ts
 * import type { SqlStores } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const retried = <A>(transaction: Effect.Effect<A, SqlStores.TransactionError>) =>
 *   Effect.retry(transaction, { times: 3, while: ({ reason }) => reason !== "Unknown" })
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionError extends Schema.TaggedError<TransactionError>("effect-eventsourcing/TransactionError")(
  "TransactionError",
  {
    reason: Schema.Literal("NotBegun", "RolledBack", "Unknown"),
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${outcomes[this.reason]}: ${this.detail}`
  }
}

const outcomes: Readonly<Record<TransactionError["reason"], string>> = {
  NotBegun: "the transaction could not begin",
  RolledBack: "nothing of the transaction was committed",
  Unknown: "the transaction may have been committed"
}

/**
 * Runs an effect in one transaction of the SQL client, and succeeds only if the database committed it. A failure or an
 * interruption rolls it back. Inside an open transaction the effect runs in a savepoint. A failure then undoes only the
 * effect, and the outer transaction decides about the commit.
 *
 * Prefer it to the client's own `withTransaction`, which succeeds even if PostgreSQL rolls back on `COMMIT`. PostgreSQL
 * does so after a failed statement, even if the program caught the failure.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 * import { EventStore, ExpectedVersion, SqlStores, StreamId } from "effect-eventsourcing"
 *
 * const opened = { id: crypto.randomUUID(), type: "Opened", payload: { _tag: "Opened" } }
 *
 * const both = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   const events = yield* EventStore.EventStore
 *   yield* events.append(StreamId.make("Account", "a-1"), [opened], { expectedVersion: ExpectedVersion.noStream })
 *   yield* sql`INSERT INTO outbox (message) VALUES ('opened')`
 * }).pipe(SqlStores.transaction)
 * ```
 *
 * @since 0.1.0
 * @category transactions
 */
export const transaction = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | TransactionError, R | SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Transactions.beginOrNest(sql, effect, failed))

const failed: Failed<TransactionError> = (reason, error) =>
  new TransactionError({ reason, detail: classify(error).detail, cause: error })
