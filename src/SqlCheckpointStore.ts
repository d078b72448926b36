/**
 * The checkpoint store on any `SqlClient` of a known dialect: SQLite or PostgreSQL.
 *
 * A row for each partition has its checkpoint, its lease and its hold. `advance` is one transaction with the writes of its
 * effect: on PostgreSQL five round trips with an effect of one statement. Leases follow the clock of the database.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CheckpointStore from "./CheckpointStore.js"
import * as Checkpoints from "./internal/sql/checkpoints.js"
import * as Statements from "./internal/sql/checkpointStatements.js"
import * as Transactions from "./internal/sql/checkpointTransactions.js"
import * as InlinePositions from "./internal/sql/inlinePositions.js"
import { setUp } from "./internal/sql/setUp.js"
import type { InvalidOption } from "./InvalidOption.js"
import type * as SqlMigrations from "./SqlMigrations.js"

/**
 * Creates missing tables and returns the store.
 *
 * @example
 * ```ts
 * import { CheckpointStore, SqlCheckpointStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const CheckpointStoreLive = Layer.effect(CheckpointStore.CheckpointStore, SqlCheckpointStore.make({ prefix: "bank" }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: SqlMigrations.Options) => Effect.Effect<
  CheckpointStore.CheckpointStore["Type"],
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = Effect.fnUntraced(function*(options) {
  const { client, dialect, names } = yield* setUp(options, [], "checkpoints")
  const { column, write, writePrepared } = dialect
  const statements = Statements.make({ column, write, writePrepared, names, spec: dialect.checkpoints(names) })
  const services = { client, statements }
  return CheckpointStore.makeEncoded({
    local: CheckpointStore.makeLocal(),
    ...Checkpoints.make(services),
    ...Transactions.make(services),
    inline: Option.some(InlinePositions.make(services)),
    sharesDatabase: (context) =>
      Option.match(Context.getOption(context, SqlClient.SqlClient), {
        onNone: () => true,
        // copies of a client share the effect that reserves its connections
        onSome: ({ reserve }) => reserve === client.identity.reserve
      })
  })
})

/**
 * Provides the checkpoint store with options. `SqlStores.layerWith` provides all stores with the same options.
 *
 * @example
 * ```ts
 * import { SqlCheckpointStore } from "effect-eventsourcing"
 *
 * const CheckpointStoreLive = SqlCheckpointStore.layerWith({ prefix: "bank" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: SqlMigrations.Options
): Layer.Layer<CheckpointStore.CheckpointStore, InvalidOption | SqlMigrations.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(CheckpointStore.CheckpointStore, make(options))

/**
 * Provides the checkpoint store in tables that begin with `eventsourcing_`.
 *
 * @example
 * ```ts
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Sqlite, SqlCheckpointStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const SqliteLive = Sqlite.layer(SqliteClient.layer, { filename: "bank.db" })
 * const CheckpointStoreLive = Layer.provide(SqlCheckpointStore.layer, SqliteLive)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = layerWith({})
