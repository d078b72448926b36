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
import * as Stream from "effect/Stream"
import { maxSubjectBytes } from "./internal/constants.js"
import { unless, wholeFromOne } from "./internal/options.js"
import * as Client from "./internal/sql/client.js"
import { describe } from "./internal/sql/failure.js"
import * as KeyRows from "./internal/sql/keyRows.js"
import * as Keys from "./internal/sql/keys.js"
import * as KeyTables from "./internal/sql/keyTables.js"
import * as Names from "./internal/sql/names.js"
import * as Rewrap from "./internal/sql/rewrap.js"
import type { Rewrapped } from "./internal/sql/rewrap.js"
import { keyProblem } from "./internal/text.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as KeyStore from "./KeyStore.js"
import * as SqlMigrations from "./SqlMigrations.js"

export type { Rewrapped } from "./internal/sql/rewrap.js"

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
  const { migrate, unwrap, wrap } = options ?? {}
  const problem = wrappingProblem({ wrap, unwrap })
  if (problem !== undefined) return yield* problem
  const rows = yield* rowsOf(names, migrate !== false)
  const wrapping = wrap === undefined || unwrap === undefined ? Keys.unwrapped : { wrap, unwrap }
  return Keys.make(rows, wrapping)
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

/**
 * The options of {@link rewrap}.
 *
 * @since 0.1.0
 * @category models
 */
export interface RewrapOptions extends Pick<SqlMigrations.Options, "prefix"> {
  /** Decrypts what the table has. Default: the table has the keys themselves. */
  readonly unwrap?: Options["unwrap"]
  /** Encrypts a key again. Default: the table gets the keys themselves. */
  readonly wrap?: Options["wrap"]
  /** Tells whether a wrapped key need not be wrapped again. Default: all keys are wrapped again. */
  readonly isCurrent?: ((wrapped: string) => boolean) | undefined
  /** Begins after this subject, where an earlier run stopped. Default: with the first one. */
  readonly after?: string | undefined
  /** How many subjects are read at a time. Default 100. */
  readonly pageSize?: number | undefined
  /** How many subjects are wrapped at the same time. Default 10. */
  readonly concurrency?: number | undefined
}

/**
 * Wraps the keys of all subjects again, as after a new master key in a key service, or to begin or end the use of one. It
 * reads no event. The stream tells after each page how far it is.
 *
 * It can run while the key store is used, beside a rotation, an erasure or another run. It can stop at any moment: run it
 * again. Before it runs, each process needs an `unwrap` that opens both forms, and a `wrap` that makes the new one.
 *
 * @example
 * ```ts
 * import { SqlKeyStore } from "effect-eventsourcing"
 * import { Effect, type Redacted, Stream } from "effect"
 *
 * interface KeyService {
 *   readonly encrypt: (key: Redacted.Redacted<Uint8Array>) => Effect.Effect<string, Error>
 *   readonly decrypt: (wrapped: string) => Effect.Effect<Redacted.Redacted<Uint8Array>, Error>
 * }
 *
 * const rewrapped = (service: KeyService) =>
 *   SqlKeyStore.rewrap({
 *     unwrap: service.decrypt,
 *     wrap: service.encrypt,
 *     isCurrent: (wrapped) => wrapped.startsWith("master-2:")
 *   }).pipe(Stream.runForEach(({ rewrapped, subject }) => Effect.log(`${rewrapped} keys, up to ${subject}`)))
 * ```
 *
 * @since 0.1.0
 * @category rotating
 */
export const rewrap = (
  options: RewrapOptions
): Stream.Stream<
  Rewrapped,
  KeyStore.KeyStoreError | InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> =>
  Stream.unwrap(Effect.gen(function*() {
    const names = yield* Names.names(options, rewrapOptions)
    const problem = rewrapProblem(options)
    if (problem !== undefined) return yield* problem
    const { after = "", concurrency = 10, isCurrent = () => false, pageSize = 100, unwrap, wrap } = options
    const rows = yield* rowsOf(names, false)
    const from = unwrap ?? Keys.unwrapped.unwrap
    const to = wrap ?? Keys.unwrapped.wrap
    return Rewrap.stream(rows, { from, to, isCurrent, after, pageSize, concurrency })
  }))

const rewrapOptions = ["wrap", "unwrap", "isCurrent", "after", "pageSize", "concurrency"] as const

const rewrapProblem = (options: RewrapOptions): InvalidOption | undefined =>
  functionProblem("wrap", options.wrap) ?? functionProblem("unwrap", options.unwrap) ??
    functionProblem("isCurrent", options.isCurrent) ??
    unless(
      options.after === undefined || keyProblem(options.after, maxSubjectBytes) === undefined,
      "after",
      options.after,
      "a subject"
    ) ??
    wholeFromOne("pageSize", options.pageSize) ?? wholeFromOne("concurrency", options.concurrency)

const rowsOf = (names: Names.Names, migrate: boolean) => {
  const table = KeyTables.tableOf(names)
  return Effect.mapBoth(Effect.tap(Client.make, (client) => KeyTables.prepare(client, names, migrate)), {
    onFailure: (error) => new SqlMigrations.MigrationError({ table, detail: describe(error), cause: error }),
    onSuccess: (client) => KeyRows.make(client, table)
  })
}

const functionProblem = (option: string, value: unknown): InvalidOption | undefined =>
  unless(value === undefined || typeof value === "function", option, value, "a function")

const wrappingProblem = ({ unwrap, wrap }: Pick<Options, "wrap" | "unwrap">): InvalidOption | undefined =>
  functionProblem("wrap", wrap) ?? functionProblem("unwrap", unwrap) ??
    unless(
      (wrap === undefined) === (unwrap === undefined),
      wrap === undefined ? "wrap" : "unwrap",
      undefined,
      "a function, as the other of the two is one"
    )
