/**
 * Keeps the keys of personal data, one set for each subject.
 *
 * A key store is the only place from which personal data can be read back. Erasing a subject destroys its keys, and
 * leaves a fence, so that it never gets new ones.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Memory from "./internal/store/memoryKeys.js"

/**
 * Keeps the keys of personal data.
 *
 * @example
 * ```ts
 * import { KeyStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const wasErased = (subject: string) =>
 *   Effect.flatMap(KeyStore.KeyStore, (keys) => keys.get([subject])).pipe(
 *     Effect.map(({ subjects }) => subjects.get(subject)?._tag === "Destroyed")
 *   )
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class KeyStore extends Context.Tag("effect-eventsourcing/KeyStore")<KeyStore, {
  /** Reads the keys of subjects. The result omits subjects that the store does not know. */
  readonly get: (subjects: ReadonlyArray<string>) => Effect.Effect<Found, KeyStoreError>

  /** Reads the keys of subjects, and makes keys for those that the store does not know. */
  readonly getOrCreate: (subjects: ReadonlyArray<string>) => Effect.Effect<Found, KeyStoreError>

  /**
   * Destroys the keys of a subject, and remembers that it has none from now on, even if it never had one. Returns whether
   * there were keys.
   */
  readonly destroy: (subject: string) => Effect.Effect<boolean, KeyStoreError>

  /**
   * Adds a key to those of a subject, with which its data is sealed from now on. The older keys still open what they have
   * sealed. Returns the keys.
   */
  readonly rotate: (subject: string) => Effect.Effect<SubjectKeys, KeyStoreError>
}>() {}

/**
 * The keys of some subjects.
 *
 * @since 0.1.0
 * @category models
 */
export interface Found {
  readonly subjects: ReadonlyMap<string, SubjectKeys>
  /** False if an open transaction may still roll the keys back. They are not kept in memory then. */
  readonly settled: boolean
}

/**
 * The keys of a subject, or that they were destroyed.
 *
 * @since 0.1.0
 * @category models
 */
export type SubjectKeys =
  | {
    readonly _tag: "Keys"
    /** The number of the key that seals. */
    readonly current: number
    /** All keys by their numbers, each of 32 bytes. */
    readonly keys: ReadonlyMap<number, Redacted.Redacted<Uint8Array>>
  }
  | { readonly _tag: "Destroyed" }

/**
 * Signals that the key store failed: no store can keep the input (`InvalidInput`), or it did not answer (`Unavailable`).
 *
 * @example
 * ```ts
 * import { type KeyStore, Personal } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const retried = Effect.retry(Personal.erase("customer-7"), {
 *   times: 3,
 *   while: ({ reason }: KeyStore.KeyStoreError) => reason === "Unavailable"
 * })
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class KeyStoreError extends Schema.TaggedError<KeyStoreError>("effect-eventsourcing/KeyStoreError")(
  "KeyStoreError",
  {
    operation: Schema.Literal("get", "getOrCreate", "destroy", "rotate", "rewrap"),
    reason: Schema.Literal("InvalidInput", "Unavailable"),
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `KeyStore.${this.operation}: ${this.detail}`
  }
}

/**
 * Makes a key store in memory.
 *
 * @example
 * ```ts
 * import { KeyStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const destroyed = Effect.flatMap(KeyStore.makeMemory, (keys) => keys.destroy("customer-7")) // false: it had no keys
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<KeyStore["Type"]> = Memory.make

/**
 * Provides a key store in memory, for tests and experiments. When it ends, all data that it sealed is lost.
 *
 * @example
 * ```ts
 * import { EventStore, KeyStore, Personal, SnapshotStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresTest = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory).pipe(
 *   Layer.provideMerge(Layer.provide(Personal.layer, KeyStore.layerMemory))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<KeyStore> = Layer.effect(KeyStore, makeMemory)
