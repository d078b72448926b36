/**
 * Stores snapshots, at most one for each stream and schema version. During a rolling deployment, old and new code thus
 * keep their own.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { maxTime, maxVersion } from "./internal/constants.js"
import { recordProblem, unknownKey, wholeFromOne } from "./internal/options.js"
import * as Memory from "./internal/store/memorySnapshots.js"
import { streamProblem } from "./internal/streamProblem.js"
import { quote, unreadable } from "./internal/text.js"
import type * as Snapshot from "./Snapshot.js"
import * as StreamId from "./StreamId.js"

/**
 * Stores snapshots of streams, at most one for each stream and schema version.
 *
 * @example
 * ```ts
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const cleanUp = Effect.flatMap(
 *   SnapshotStore.SnapshotStore,
 *   (snapshots) => snapshots.deleteByType("Account", { schemaVersionBelow: 3 })
 * )
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class SnapshotStore extends Context.Tag("effect-eventsourcing/SnapshotStore")<SnapshotStore, {
  /**
   * Reads the snapshot of this schema version. If there is none, it reads that of the highest `migratable` version,
   * else that of the highest lower version, else that of the highest version.
   */
  readonly get: (
    stream: StreamId.StreamId,
    options: GetOptions
  ) => Effect.Effect<Option.Option<Snapshot.EncodedSnapshot>, SnapshotStoreError>

  /**
   * Saves the snapshot, unless the store has one of the same stream and schema version at an equal or higher version.
   */
  readonly save: (snapshot: Snapshot.EncodedSnapshot) => Effect.Effect<SaveOutcome, SnapshotStoreError>

  /**
   * Deletes the snapshots of a stream: all, those of one schema version, those below a version of the stream, or only
   * that with this identity. Returns how many it deleted.
   */
  readonly delete: (stream: StreamId.StreamId, options?: DeleteOptions) => Effect.Effect<number, SnapshotStoreError>

  /** Tells whether the stream has a snapshot, of this schema version or of any. */
  readonly exists: (
    stream: StreamId.StreamId,
    options?: { readonly schemaVersion?: number | undefined }
  ) => Effect.Effect<boolean, SnapshotStoreError>

  /**
   * Deletes the snapshots of all streams of an aggregate, or those with a schema version strictly below the given
   * one. Returns how many it deleted. With `dryRun` it only counts. With `limit` it deletes at most so many.
   */
  readonly deleteByType: (aggregate: string, options?: DeleteByTypeOptions) => Effect.Effect<number, SnapshotStoreError>
}>() {}

/**
 * The options of `get`.
 *
 * @since 0.1.0
 * @category models
 */
export interface GetOptions {
  readonly schemaVersion: number
  /** The older schemas whose snapshots the reader can migrate. */
  readonly migratable?: ReadonlyArray<StateSchema> | undefined
}

/**
 * The identity of the schema that encoded a state.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateSchema {
  readonly schemaVersion: number
  readonly fingerprint: string
}

/**
 * The outcome of `save`.
 *
 * - `Saved`: the store has the snapshot.
 * - `Superseded`: the store had an equal or newer snapshot, and kept that.
 * - `Discarded`: the store keeps nothing, as with {@link layerNoop}.
 *
 * @since 0.1.0
 * @category models
 */
export type SaveOutcome = "Saved" | "Superseded" | "Discarded"

/**
 * What tells a snapshot from the others of its stream and schema version.
 *
 * @since 0.1.0
 * @category models
 */
export interface SnapshotIdentity {
  readonly version: number
  readonly eventId: string
  /** The time of the snapshot. A wrong one may have been replaced since by a right one of the same version. */
  readonly time?: number | undefined
}

/**
 * The options of `delete`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeleteOptions {
  readonly schemaVersion?: number | undefined
  /** Deletes only the snapshot that ends with this event at this version, not one that was saved since. */
  readonly identity?: SnapshotIdentity | undefined
  /** Deletes only snapshots of a lower version of the stream. A store that does not know it may delete all. */
  readonly versionBelow?: number | undefined
}

/**
 * The options of `deleteByType`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeleteByTypeOptions {
  readonly schemaVersionBelow?: number | undefined
  readonly dryRun?: boolean | undefined
  /** The most snapshots to delete, 1 or more. A store that does not know it may delete all. Default: no limit. */
  readonly limit?: number | undefined
}

/**
 * Signals that the snapshot store refused an operation. A command never fails with this error.
 *
 * - `InvalidInput`: no store can keep the input.
 * - `Refused`: this store would refuse it again, because a right or a table is missing.
 * - `Unavailable`: a later try may succeed.
 *
 * @example
 * ```ts
 * import type { SnapshotStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const handled = <A>(effect: Effect.Effect<A, SnapshotStore.SnapshotStoreError>) =>
 *   Effect.catchTag(effect, "SnapshotStoreError", ({ detail }) => Effect.logWarning(detail))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class SnapshotStoreError extends Schema.TaggedError<SnapshotStoreError>(
  "effect-eventsourcing/SnapshotStoreError"
)("SnapshotStoreError", {
  operation: Schema.Literal("get", "save", "delete", "exists", "deleteByType"),
  aggregate: Schema.String,
  id: Schema.optional(Schema.String),
  reason: Schema.Literal("InvalidInput", "Refused", "Unavailable"),
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  override get message(): string {
    const subject = this.id === undefined
      ? quote(this.aggregate)
      : StreamId.format(StreamId.make(this.aggregate, this.id))
    return `SnapshotStore.${this.operation} of ${subject}: ${this.detail}`
  }
}

/**
 * Makes a snapshot store from a driver. Input that no backend can keep fails with a typed error before it reaches the
 * driver.
 *
 * @example
 * ```ts
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const layer = (driver: SnapshotStore.SnapshotStore["Type"]) =>
 *   Layer.succeed(SnapshotStore.SnapshotStore, SnapshotStore.makeEncoded(driver))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEncoded = (driver: SnapshotStore["Type"]): SnapshotStore["Type"] => {
  const guard = <A>(
    operation: SnapshotStoreError["operation"],
    streamOf: () => StreamId.StreamId,
    problem: () => string | undefined,
    run: () => Effect.Effect<A, SnapshotStoreError>
  ): Effect.Effect<A, SnapshotStoreError> =>
    Effect.suspend(() => {
      let wrong: string | undefined
      let cause: unknown
      try {
        wrong = streamProblem(streamOf()) ?? problem()
      } catch (thrown) {
        wrong = unreadable
        cause = thrown
      }
      if (wrong === undefined) return run()
      return new SnapshotStoreError({ operation, ...shown(streamOf), reason: "InvalidInput", detail: wrong, cause })
    })
  return SnapshotStore.of({
    get: (stream, options) =>
      guard("get", () => stream, () =>
        // `get` needs options
        (isRecord(options) ? undefined : "its options are not an object") ??
          numberProblem({ schemaVersion: options.schemaVersion }) ??
          migratableProblem(options.migratable), () => driver.get(stream, options)),
    save: (snapshot) =>
      guard("save", () => snapshot.stream, () => {
        const { eventId, fingerprint, schemaVersion, state, time, version } = snapshot
        return numberProblem({ version, schemaVersion, time }) ?? textProblem({ eventId, fingerprint, state })
      }, () => driver.save(snapshot)),
    delete: (stream, options) =>
      guard(
        "delete",
        () => stream,
        () =>
          // with a misspelt option it would delete all snapshots
          unknownKey("its options", options, ["schemaVersion", "identity", "versionBelow"]) ??
            numberProblem({ schemaVersion: options?.schemaVersion, versionBelow: options?.versionBelow }) ??
            (options?.identity === undefined ? undefined : identityProblem(options.identity)),
        () => driver.delete(stream, options)
      ),
    exists: (stream, options) =>
      guard(
        "exists",
        () => stream,
        () => numberProblem({ schemaVersion: options?.schemaVersion }),
        () => driver.exists(stream, options)
      ),
    deleteByType: (aggregate, options) =>
      guard("deleteByType", () =>
        StreamId.make(aggregate, "-"), () =>
        // with a misspelt dryRun it would delete
        recordProblem("options", options, ["schemaVersionBelow", "dryRun", "limit"])?.message ??
          wholeFromOne("limit", options?.limit)?.message ??
          numberProblem({ schemaVersionBelow: options?.schemaVersionBelow }) ??
          (options?.dryRun === undefined || typeof options.dryRun === "boolean"
            ? undefined
            : `dryRun is ${quote(options.dryRun)}; it must be true or false`), () =>
        driver.deleteByType(aggregate, options))
  })
}

/**
 * Makes a store in memory. It keeps snapshots as text, so that reading returns new objects.
 *
 * @example
 * ```ts
 * import { SnapshotStore, StreamId } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const exists = Effect.flatMap(SnapshotStore.makeMemory, (store) => store.exists(StreamId.make("Account", "a")))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<SnapshotStore["Type"]> = Effect.sync(() => makeEncoded(Memory.make()))

/**
 * Provides a store in memory, for tests and experiments.
 *
 * @example
 * ```ts
 * import { EventStore, SnapshotStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresTest = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<SnapshotStore> = Layer.effect(SnapshotStore, makeMemory)

/**
 * Provides a store that keeps nothing, for programs without snapshots. `createSnapshot` fails on it.
 *
 * @example
 * ```ts
 * import { SnapshotStore, SqlEventStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresLive = Layer.merge(SqlEventStore.layer, SnapshotStore.layerNoop)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNoop: Layer.Layer<SnapshotStore> = Layer.succeed(
  SnapshotStore,
  SnapshotStore.of({
    get: () => Effect.succeedNone,
    save: () => Effect.succeed("Discarded"),
    delete: () => Effect.succeed(0),
    exists: () => Effect.succeed(false),
    deleteByType: () => Effect.succeed(0)
  })
)

const numberProblem = (numbers: Readonly<Record<string, unknown>>): string | undefined => {
  for (const [name, value] of Object.entries(numbers)) {
    const max = name === "time" ? maxTime : maxVersion
    if (value !== undefined && !(Number.isInteger(value) && Math.abs(Number(value)) <= max)) {
      return `${name} is ${quote(value)}; it must be a whole number of at most ${max}`
    }
  }
  return undefined
}

const textProblem = (texts: Readonly<Record<string, unknown>>): string | undefined => {
  for (const [name, value] of Object.entries(texts)) {
    if (typeof value !== "string") return `${name} is of type ${typeof value}; it must be text`
  }
  return undefined
}

const isRecord = (value: unknown): boolean => typeof value === "object" && value !== null

const migratableProblem = (schemas: unknown): string | undefined => {
  if (schemas === undefined || (Array.isArray(schemas) && schemas.every(isRecord))) return undefined
  return "migratable is not an array of state schemas"
}

const identityProblem = (identity: SnapshotIdentity): string | undefined => {
  if (!isRecord(identity)) return "identity is not an object"
  const { eventId, time, version } = identity
  return version === undefined
    ? "identity has no version"
    : numberProblem({ version, time }) ?? textProblem({ eventId })
}

const shown = (streamOf: () => StreamId.StreamId): { readonly aggregate: string; readonly id: string } => {
  try {
    const { aggregate, id } = streamOf()
    return { aggregate: String(aggregate), id: String(id) }
  } catch {
    return { aggregate: "?", id: "?" }
  }
}
