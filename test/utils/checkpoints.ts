import { Effect, Option } from "effect"
import { CheckpointStore, Position } from "effect-eventsourcing"

/** Longer than any test. */
export const ttl = 600_000

export const key: CheckpointStore.Key = { name: "balances", version: 1 }

export const at = (sequence: number): Position.Position => Position.fromParts(0, sequence)

export const register = (partitions = 1) =>
  Effect.flatMap(
    CheckpointStore.CheckpointStore,
    (store) => store.register({ ...key, kind: "Projection", definition: "Account", partitions, from: Position.start })
  )

/** Takes the lease of the one partition, which must be free. */
export const take = (owner: string, leaseTtl = ttl) =>
  Effect.flatMap(
    CheckpointStore.CheckpointStore,
    (store) => Effect.map(store.acquire(key, { owner, ttl: leaseTtl, index: 0, of: 1 }), Option.getOrThrow)
  )

/** Advances the checkpoint to a sequence number. */
export const advance = <A, E, R>(
  lease: CheckpointStore.Lease,
  to: number,
  effect: Effect.Effect<A, E, R>,
  leaseTtl = ttl
) =>
  Effect.flatMap(
    CheckpointStore.CheckpointStore,
    (store) => store.advance(lease, { to: at(to), handled: 1, ttl: leaseTtl, streams: [] }, () => effect)
  )

/** The sequence number of each checkpoint, and the events handled by all. */
export const progress = Effect.flatMap(
  CheckpointStore.CheckpointStore,
  (store) =>
    Effect.map(store.list, ([{ partitions }]) => ({
      at: partitions.map(({ position }) => Number(Position.toParts(position).sequence)),
      handled: partitions.reduce((sum, { handled }) => sum + handled, 0)
    }))
)
