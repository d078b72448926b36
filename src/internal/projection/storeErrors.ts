// The errors of CheckpointStore, which exports them.
import * as Schema from "effect/Schema"
import { quote } from "../text.js"
import type { Key, Lease } from "./model.js"

/**
 * Signals that the checkpoint store refused an operation.
 *
 * - `InvalidInput`: no store can keep the input.
 * - `Refused`: this store would refuse it again, because a right or a table is missing.
 * - `Unavailable`: a later try may succeed.
 *
 * @example
 * ```ts
 * import type { CheckpointStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const retried = <A>(effect: Effect.Effect<A, CheckpointStore.CheckpointStoreError>) =>
 *   Effect.retry(effect, { times: 3, while: ({ reason }) => reason === "Unavailable" })
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckpointStoreError extends Schema.TaggedError<CheckpointStoreError>(
  "effect-eventsourcing/CheckpointStoreError"
)("CheckpointStoreError", {
  operation: Schema.String,
  /** The name of the subscription or projection. */
  subscription: Schema.optional(Schema.String),
  reason: Schema.Literal("InvalidInput", "Refused", "Unavailable"),
  /** Whether the operation may have been committed all the same, because the connection was lost during the commit. */
  mayHaveHappened: Schema.Boolean,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  /** @since 0.1.0 */
  override get message(): string {
    // without a name of its own it has that of its class
    const subject = Object.hasOwn(this, "name") ? ` of ${quote(this.subscription)}` : ""
    return `CheckpointStore.${this.operation}${subject}: ${this.detail}`
  }
}

/**
 * Signals that another process owns the partition now, or that the partitions changed.
 *
 * @example
 * ```ts
 * import type { CheckpointStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const quiet = <A>(effect: Effect.Effect<A, CheckpointStore.LeaseLost>) =>
 *   Effect.catchTag(effect, "LeaseLost", ({ index, subscription }) => Effect.logDebug(`${subscription} ${index} has a new owner`))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseLost extends Schema.TaggedError<LeaseLost>("effect-eventsourcing/LeaseLost")("LeaseLost", {
  subscription: Schema.String,
  version: Schema.Number,
  index: Schema.Number,
  epoch: Schema.Number
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `the lease of partition ${this.index} of ${quote(this.subscription)}, version ${this.version}, is lost: ` +
      `epoch ${this.epoch} has passed`
  }
}

/**
 * Signals that a subscription does not fit the one that is stored, or that its state does not allow the operation.
 *
 * - `Unknown`: no process has registered it.
 * - `OtherDefinition`: the stored version reads other events, or is of another kind. Raise the version.
 * - `OlderVersion`: it is a new version, and a higher one is stored.
 * - `Active`: the active version is removed only if that is asked for.
 * - `Owned`: a process still works for the version.
 * - `NoneActive`: the active version was removed, and no other one is promoted yet.
 *
 * @example
 * ```ts
 * import type { CheckpointStore } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const explained = <A>(effect: Effect.Effect<A, CheckpointStore.SubscriptionMismatch>) =>
 *   Effect.tapErrorTag(effect, "SubscriptionMismatch", ({ message }) => Effect.logError(message))
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class SubscriptionMismatch extends Schema.TaggedError<SubscriptionMismatch>(
  "effect-eventsourcing/SubscriptionMismatch"
)("SubscriptionMismatch", {
  subscription: Schema.String,
  /** Without a version, any version of the name was looked for. */
  version: Schema.optional(Schema.Number),
  reason: Schema.Literal("Unknown", "OtherDefinition", "OlderVersion", "Active", "Owned", "NoneActive")
}) {
  /** @since 0.1.0 */
  override get message(): string {
    const subject = quote(this.subscription)
    if (this.reason === "NoneActive") return `no version of ${subject} ${explanations.NoneActive}`
    return this.version === undefined
      ? `no version of ${subject} is registered: start its layer first, or correct the name`
      : `${subject}, version ${this.version}, ${explanations[this.reason]}`
  }
}

const explanations: Readonly<Record<SubscriptionMismatch["reason"], string>> = {
  Unknown: "is not registered: start its layer first, or correct the name and the version",
  OtherDefinition:
    "is stored with another definition: raise the version of a projection, so that it is rebuilt beside " +
    "the old one, and give a subscription a name that no projection has",
  OlderVersion: "is not registered, and a higher version is: a new version must be the highest",
  Active: "is the active version: promote another one first, or ask for its removal with the option active",
  Owned: "still has a process that works for it: stop these processes first. The lease of a killed process has to end",
  NoneActive: "is active, because the active one was removed: promote one"
}

export const lost = ({ epoch, index, name, version }: Lease): LeaseLost =>
  new LeaseLost({ subscription: name, version, index, epoch })

export const mismatch = ({ name, version }: Key, reason: SubscriptionMismatch["reason"]): SubscriptionMismatch =>
  new SubscriptionMismatch({ subscription: name, version, reason })

/** No version of this name is registered. */
export const unknownName = (name: string): SubscriptionMismatch =>
  new SubscriptionMismatch({ subscription: name, reason: "Unknown" })

/** Versions of this name are registered, and none is active. */
export const noneActive = (name: string): SubscriptionMismatch =>
  new SubscriptionMismatch({ subscription: name, reason: "NoneActive" })
