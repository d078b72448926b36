/**
 * Keeps snapshots: at most one for each stream and schema version, so that old and new code keep their own during a
 * rolling deployment.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { maxTime, maxVersion } from "./internal/constants.js"
import { recordProblem, unknownKey } from "./internal/options.js"
import { streamProblem } from "./internal/streamProblem.js"
import { quote, unreadable } from "./internal/text.js"
import type * as Snapshot from "./Snapshot.js"
import * as StreamId from "./StreamId.js"

/**
 * @since 0.1.0
 * @category services
 */
export class SnapshotStore extends Context.Tag("effect-eventsourcing/SnapshotStore")<SnapshotStore, {
  /**
   * The snapshot of this schema version; else that of the highest one that is `migratable`; else that of the highest
   * lower one; else that of the newest.
   */
  readonly get: (
    stream: StreamId.StreamId,
    options: GetOptions
  ) => Effect.Effect<Option.Option<Snapshot.EncodedSnapshot>, SnapshotStoreError>

  /**
   * Keeps the snapshot, unless one of the same stream and schema version is there with an equal or higher version.
   */
  readonly save: (snapshot: Snapshot.EncodedSnapshot) => Effect.Effect<SaveOutcome, SnapshotStoreError>

  /**
   * Deletes the snapshots of a stream: all, those of one schema version, or only the one with this very identity.
   * Gives how many there were.
   */
  readonly delete: (
    stream: StreamId.StreamId,
    options?: DeleteOptions
  ) => Effect.Effect<number, SnapshotStoreError>

  /**
   * Whether the stream has a snapshot, of this schema version or of any.
   */
  readonly exists: (
    stream: StreamId.StreamId,
    options?: { readonly schemaVersion?: number | undefined }
  ) => Effect.Effect<boolean, SnapshotStoreError>

  /**
   * Deletes the snapshots of all streams of an aggregate, or those with a schema version strictly below the given
   * one. Gives how many there were; with `dryRun` it only counts.
   */
  readonly deleteByType: (
    aggregate: string,
    options?: DeleteByTypeOptions
  ) => Effect.Effect<number, SnapshotStoreError>
}>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface GetOptions {
  readonly schemaVersion: number
  /** The older schemas whose snapshots the reader can migrate. */
  readonly migratable?: ReadonlyArray<StateSchema> | undefined
}

/**
 * Which schema a state was encoded by.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateSchema {
  readonly schemaVersion: number
  readonly fingerprint: string
}

/**
 * - `Saved`.
 * - `Superseded`: an equal or newer snapshot was already there and stayed.
 * - `Discarded`: the store keeps nothing, as that of {@link layerNoop}.
 *
 * @since 0.1.0
 * @category models
 */
export type SaveOutcome = "Saved" | "Superseded" | "Discarded"

/**
 * @since 0.1.0
 * @category models
 */
export interface DeleteOptions {
  readonly schemaVersion?: number | undefined
  /** Delete only the snapshot that was folded up to this event at this version: not one saved meanwhile. */
  readonly identity?: { readonly version: number; readonly eventId: string } | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface DeleteByTypeOptions {
  readonly schemaVersionBelow?: number | undefined
  readonly dryRun?: boolean | undefined
}

/**
 * The snapshot store could not do what it was asked. No command ever fails with it. `InvalidInput` is what no store can
 * keep; `Refused` is what this one would refuse again, as it lacks a right or a table; `Unavailable` may pass.
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
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const subject = this.id === undefined
      ? quote(this.aggregate)
      : StreamId.format(StreamId.make(this.aggregate, this.id))
    return `SnapshotStore.${this.operation} of ${subject}: ${this.detail}`
  }
}

/**
 * Guards a driver: input that no backend can keep is refused with a typed error before the driver sees it.
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
        // without options nothing can be found
        (isRecord(options) ? undefined : "its options are no record") ??
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
          // with a misspelt one it would delete them all
          unknownKey("its options", options, ["schemaVersion", "identity"]) ??
            numberProblem({ schemaVersion: options?.schemaVersion }) ??
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
        // a misspelt dryRun would delete
        recordProblem("options", options, ["schemaVersionBelow", "dryRun"])?.message ??
          numberProblem({ schemaVersionBelow: options?.schemaVersionBelow }) ??
          (options?.dryRun === undefined || typeof options.dryRun === "boolean"
            ? undefined
            : `dryRun is ${quote(options.dryRun)}; it must be true or false`), () =>
        driver.deleteByType(aggregate, options))
  })
}

/**
 * A store in memory. It keeps what it is given as text: nothing read back is an object that was written.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<SnapshotStore["Type"]> = Effect.sync(() => {
  const aggregates = new Map<string, Map<string, Map<number, Snapshot.EncodedSnapshot>>>()
  const rowsOf = (stream: StreamId.StreamId) => aggregates.get(stream.aggregate)?.get(stream.id)

  return makeEncoded(SnapshotStore.of({
    get: (stream, options) =>
      Effect.sync(() => {
        const rows = Array.from(rowsOf(stream)?.values() ?? [])
        const ofVersion = rows.filter((row) => row.schemaVersion === options.schemaVersion)
        const migratable = rows.filter((row) => options.migratable?.some((schema) => isOf(row, schema)))
        const lower = rows.filter((row) => row.schemaVersion <= options.schemaVersion)
        const found = highest(ofVersion) ?? highest(migratable) ?? highest(lower) ?? highest(rows)
        // what is in the store nothing outside it can change
        return Option.fromNullable(found && { ...found, stream: { ...found.stream } })
      }),
    save: (snapshot) =>
      Effect.sync(() => {
        const { aggregate, id } = snapshot.stream
        const streams = getOrInsert(
          aggregates,
          aggregate,
          () => new Map<string, Map<number, Snapshot.EncodedSnapshot>>()
        )
        const rows = getOrInsert(streams, id, () => new Map<number, Snapshot.EncodedSnapshot>())
        const current = rows.get(snapshot.schemaVersion)
        if (current !== undefined && current.version >= snapshot.version) return "Superseded"
        rows.set(snapshot.schemaVersion, { ...snapshot, stream: StreamId.make(aggregate, id) })
        return "Saved"
      }),
    delete: (stream, options) =>
      Effect.sync(() => {
        const rows = rowsOf(stream)
        if (rows === undefined) return 0
        const identity = options?.identity
        let count = 0
        for (const row of Array.from(rows.values())) {
          if (options?.schemaVersion !== undefined && row.schemaVersion !== options.schemaVersion) continue
          if (identity !== undefined && (row.version !== identity.version || row.eventId !== identity.eventId)) continue
          rows.delete(row.schemaVersion)
          count++
        }
        return count
      }),
    exists: (stream, options) =>
      Effect.sync(() => {
        const rows = rowsOf(stream)
        if (rows === undefined) return false
        return options?.schemaVersion === undefined ? rows.size > 0 : rows.has(options.schemaVersion)
      }),
    deleteByType: (aggregate, options) =>
      Effect.sync(() => {
        const below = options?.schemaVersionBelow ?? Number.POSITIVE_INFINITY
        let count = 0
        for (const rows of aggregates.get(aggregate)?.values() ?? []) {
          for (const schemaVersion of Array.from(rows.keys())) {
            if (schemaVersion >= below) continue
            count++
            if (options?.dryRun !== true) rows.delete(schemaVersion)
          }
        }
        return count
      })
  }))
})

/**
 * A store in memory, for tests and for trying things out.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<SnapshotStore> = Layer.effect(SnapshotStore, makeMemory)

/**
 * A store that keeps nothing, for programs that take no snapshots. `createSnapshot` fails with it.
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

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const isOf = (row: Snapshot.EncodedSnapshot, schema: StateSchema): boolean =>
  row.schemaVersion === schema.schemaVersion && row.fingerprint === schema.fingerprint

const highest = (rows: ReadonlyArray<Snapshot.EncodedSnapshot>): Snapshot.EncodedSnapshot | undefined =>
  rows.reduce<Snapshot.EncodedSnapshot | undefined>(
    (best, row) => best === undefined || row.schemaVersion > best.schemaVersion ? row : best,
    undefined
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
  return "migratable is no array of state schemas"
}

const identityProblem = (identity: NonNullable<DeleteOptions["identity"]>): string | undefined => {
  if (!isRecord(identity)) return "identity is no record"
  const { eventId, version } = identity
  return version === undefined ? "identity has no version" : numberProblem({ version }) ?? textProblem({ eventId })
}

const shown = (streamOf: () => StreamId.StreamId): { readonly aggregate: string; readonly id: string } => {
  try {
    const { aggregate, id } = streamOf()
    return { aggregate: String(aggregate), id: String(id) }
  } catch {
    return { aggregate: "?", id: "?" }
  }
}

const getOrInsert = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
