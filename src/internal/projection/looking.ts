// Looks at the registered subscriptions until something is reached. A checkpoint that advances in this process, or a
// partition that stops, wakes the look; other processes are looked for after a while.
import * as Effect from "effect/Effect"
import * as Order from "effect/Order"
import type { CheckpointStore } from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import { later } from "../store/later.js"
import type { Key, Registered } from "./model.js"
import {
  type CheckpointStoreError,
  mismatch,
  noneActive,
  type SubscriptionMismatch,
  unknownName
} from "./storeErrors.js"

/** Finds a subscription, or fails because it is not registered. */
export type Find = Effect.Effect<Registered, SubscriptionMismatch | CheckpointStoreError>

export const activeOf = (checkpoints: CheckpointStore["Type"], name: string): Find =>
  Effect.flatMap(checkpoints.list, (all): Effect.Effect<Registered, SubscriptionMismatch> => {
    const versions = all.filter((one) => one.name === name)
    const active = versions.find(({ active }) => active)
    if (active !== undefined) return Effect.succeed(active)
    return versions.length === 0 ? unknownName(name) : noneActive(name)
  })

export const versionOf = (checkpoints: CheckpointStore["Type"], key: Key): Find =>
  Effect.flatMap(checkpoints.list, (all): Effect.Effect<Registered, SubscriptionMismatch> => {
    const found = all.find((one) => one.name === key.name && one.version === key.version)
    return found === undefined ? mismatch(key, "Unknown") : Effect.succeed(found)
  })

/** Looks until `check` says that it is reached. `delay` is the time between two looks, in milliseconds, by their number. */
export const until = <E>(
  { local }: CheckpointStore["Type"],
  found: Find,
  check: (registered: Registered) => Effect.Effect<boolean, E>,
  delay: (looks: number) => number
): Effect.Effect<void, E | Effect.Effect.Error<Find>> => {
  const look = (looks: number): Effect.Effect<void, E | Effect.Effect.Error<Find>> =>
    Effect.suspend(() => {
      const rings = local.advanced.count()
      return Effect.flatMap(Effect.flatMap(found, check), (isReached) =>
        isReached ? Effect.void : Effect.zipRight(local.advanced.wait(rings, delay(looks)), look(looks + 1)))
    })
  return look(0)
}

const positionsOf = ({ partitions }: Registered) => partitions.map(({ position }) => position)

/** The lowest checkpoint of a version. */
export const lowest = (registered: Registered): Position.Position => positionsOf(registered).reduce(earlier)

/** The highest checkpoint of a version. */
export const highest = (registered: Registered): Position.Position => positionsOf(registered).reduce(later)

const earlier = Order.min(Position.Order)
