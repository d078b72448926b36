/**
 * The key store on any `SqlClient` of a known dialect: SQLite or PostgreSQL.
 *
 * It keeps one row for each subject, with all of its keys, in the table `eventsourcing_keys`. An erased subject keeps its
 * row, without keys. The table may be in another database than the events, with other backups.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import { unless } from "./internal/options.js"
import * as Client from "./internal/sql/client.js"
import { describe } from "./internal/sql/failure.js"
import * as KeyRows from "./internal/sql/keyRows.js"
import * as Keys from "./internal/sql/keys.js"
import * as KeyTables from "./internal/sql/keyTables.js"
import * as Names from "./internal/sql/names.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as KeyStore from "./KeyStore.js"
import * as SqlMigrations from "./SqlMigrations.js"

/**
 * The options of the key store.
 *
 * Without `wrap` and `unwrap` the table has the keys themselves, and a backup of it can undo an erasure. With them the
 * table has only what `wrap` returns.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends SqlMigrations.Options {
  /** Encrypts a key before it is stored, as by a key service of a cloud. */
  readonly wrap?: ((key: Redacted.Redacted<Uint8Array>, subject: string) => Effect.Effect<string, unknown>) | undefined
  /** Decrypts what `wrap` returned. The store remembers the result for five minutes. */
  readonly unwrap?:
    | ((wrapped: string, subject: string) => Effect.Effect<Redacted.Redacted<Uint8Array>, unknown>)
    | undefined
}

/**
 * Creates the table if it is missing and returns the store.
 *
 * @example
 * ```ts
 * import { KeyStore, SqlKeyStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const KeyStoreLive = Layer.effect(KeyStore.KeyStore, SqlKeyStore.make({ prefix: "bank" }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: Options) => Effect.Effect<
  KeyStore.KeyStore["Type"],
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = Effect.fnUntraced(function*(options) {
  const names = yield* Names.names(options, ["wrap", "unwrap"])
  const { unwrap, wrap, ...tables } = options ?? {}
  const problem = wrappingProblem({ wrap, unwrap })
  if (problem !== undefined) return yield* problem
  const table = KeyTables.tableOf(names)
  const client = yield* Effect.mapError(
    Effect.tap(Client.make, (client) => KeyTables.prepare(client, names, tables.migrate !== false)),
    (error) => new SqlMigrations.MigrationError({ table, detail: describe(error), cause: error })
  )
  const wrapping = wrap === undefined || unwrap === undefined ? Keys.unwrapped : { wrap, unwrap }
  return Keys.make(KeyRows.make(client, table), wrapping)
})

/**
 * Provides the key store with options.
 *
 * @example
 * ```ts
 * import { SqlKeyStore } from "effect-eventsourcing"
 * import type { Effect, Redacted } from "effect"
 *
 * // functions of a key service, such as AWS KMS, Google Cloud KMS or Vault
 * interface KeyService {
 *   readonly encrypt: (key: Redacted.Redacted<Uint8Array>) => Effect.Effect<string, Error>
 *   readonly decrypt: (wrapped: string) => Effect.Effect<Redacted.Redacted<Uint8Array>, Error>
 * }
 *
 * const keyStore = (service: KeyService) =>
 *   SqlKeyStore.layerWith({ prefix: "bank", wrap: service.encrypt, unwrap: service.decrypt })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<KeyStore.KeyStore, InvalidOption | SqlMigrations.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(KeyStore.KeyStore, make(options))

/**
 * Provides the key store in the table `eventsourcing_keys`.
 *
 * @example
 * ```ts
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Sqlite, SqlKeyStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const KeyStoreLive = Layer.provide(SqlKeyStore.layer, Sqlite.layer(SqliteClient.layer, { filename: "keys.db" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = layerWith({})

const wrappingProblem = ({ unwrap, wrap }: Pick<Options, "wrap" | "unwrap">): InvalidOption | undefined => {
  const isFunction = (value: unknown) => value === undefined || typeof value === "function"
  return unless(isFunction(wrap), "wrap", wrap, "a function") ??
    unless(isFunction(unwrap), "unwrap", unwrap, "a function") ??
    unless(
      (wrap === undefined) === (unwrap === undefined),
      wrap === undefined ? "wrap" : "unwrap",
      undefined,
      "a function, as the other of the two is one"
    )
}
