// The parts of the contract's cases for checkpoint stores: a subscription of their own, and operations on it.
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import * as CheckpointStore from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import type { Body, Case } from "./fresh.js"

/** Longer than any case. */
export const ttl = 600_000

export const at = (sequence: number): Position.Position => Position.fromParts(0, sequence)

export interface Fresh {
  readonly store: CheckpointStore.CheckpointStore["Type"]
  readonly key: CheckpointStore.Key
  /** A key of the same name. */
  readonly version: (version: number) => CheckpointStore.Key
  /** Registers version 1 with one partition from position 10, or with other values. */
  readonly register: (
    changes?: Partial<CheckpointStore.Registration>
  ) => ReturnType<CheckpointStore.CheckpointStore["Type"]["register"]>
  /** Takes the lease of a partition, which must be free. */
  readonly take: (
    owner?: string,
    options?: { readonly index?: number; readonly of?: number; readonly key?: CheckpointStore.Key }
  ) => Effect.Effect<CheckpointStore.Lease, CheckpointStore.CheckpointStoreError>
  readonly tryTake: (
    owner: string,
    options?: { readonly index?: number; readonly of?: number; readonly key?: CheckpointStore.Key }
  ) => Effect.Effect<Option.Option<CheckpointStore.Lease>, CheckpointStore.CheckpointStoreError>
  /** Advances a checkpoint to a sequence number. */
  readonly advance: <A = void, E = never, R = never>(
    lease: CheckpointStore.Lease,
    to: number,
    effect?: (parked: ReadonlySet<string>) => Effect.Effect<A, E, R>,
    streams?: ReadonlyArray<string>
  ) => Effect.Effect<
    CheckpointStore.Advanced<A | undefined>,
    E | CheckpointStore.LeaseLost | CheckpointStore.CheckpointStoreError,
    R
  >
  /** Like `advance`, which must not be held. Gives the new lease. */
  readonly move: (
    lease: CheckpointStore.Lease,
    to: number
  ) => Effect.Effect<CheckpointStore.Lease, CheckpointStore.LeaseLost | CheckpointStore.CheckpointStoreError>
  /** Takes each partition, advances it to a sequence number, and gives it back. */
  readonly moveAll: (key: CheckpointStore.Key, of: number, to: number) => Effect.Effect<void, unknown>
  /** The versions of the name, as plain records. */
  readonly versions: Effect.Effect<ReadonlyArray<Plain>, CheckpointStore.CheckpointStoreError>
  /** The partitions of version 1. */
  readonly partitions: Effect.Effect<Plain["partitions"], CheckpointStore.CheckpointStoreError>
  /** The sequence numbers of the checkpoints of a version, of version 1 by default. */
  readonly checkpoints: (
    key?: CheckpointStore.Key
  ) => Effect.Effect<ReadonlyArray<number>, CheckpointStore.CheckpointStoreError>
  /** The sequence numbers of the parked events of version 1. */
  readonly parked: Effect.Effect<ReadonlyArray<number>, CheckpointStore.CheckpointStoreError>
}

export interface Plain {
  readonly version: number
  readonly kind: string
  readonly active: boolean
  readonly members: number
  readonly parked: number
  readonly partitions: ReadonlyArray<{
    readonly index: number
    readonly of: number
    readonly at: number
    readonly handled: number
    readonly owner: string | null
    readonly epoch: number
    readonly stopped: { readonly at: number | null; readonly reason: string; readonly time: number } | null
    readonly hold: number | null
  }>
}

export const sequenceOf = (position: Position.Position): number => Number(Position.toParts(position).sequence)

const nullable = (position: Option.Option<Position.Position>): number | null =>
  Option.getOrNull(Option.map(position, sequenceOf))

const plain = ({ active, kind, members, parked, partitions, version }: CheckpointStore.Registered): Plain => ({
  version,
  kind,
  active,
  members,
  parked,
  partitions: partitions.map(({ epoch, handled, hold, index, of, owner, position, stopped }) => ({
    index,
    of,
    at: sequenceOf(position),
    handled,
    owner: Option.getOrNull(owner),
    epoch,
    stopped: Option.getOrNull(Option.map(stopped, ({ position, reason, time }) => ({
      at: nullable(position),
      reason,
      time
    }))),
    hold: nullable(hold)
  }))
})

// each case has its own name, so that cases can share a database and run concurrently
export const withFresh = <R = never>(
  name: string,
  body: (fresh: Fresh) => Body<R>
): Case<CheckpointStore.CheckpointStore | R> => ({
  name,
  run: Effect.flatMap(CheckpointStore.CheckpointStore, (store) => Effect.gen(() => body(make(store))))
})

const make = (store: CheckpointStore.CheckpointStore["Type"]): Fresh => {
  const name = `contract-${crypto.randomUUID()}`
  const key = { name, version: 1 }
  const versions = Effect.map(store.list, (all) => all.filter((one) => one.name === name).map(plain))
  const partitionsOf = ({ version }: CheckpointStore.Key) =>
    Effect.map(versions, (found) => found.find((one) => one.version === version)?.partitions ?? [])
  const tryTake: Fresh["tryTake"] = (owner, { index = 0, key: taken = key, of = 1 } = {}) =>
    store.acquire(taken, { owner, ttl, index, of })
  const take: Fresh["take"] = (owner = "ada", options) =>
    Effect.map(tryTake(owner, options), (lease) => {
      assert.ok(Option.isSome(lease), "the partition is not free")
      return lease.value
    })
  const advance: Fresh["advance"] = (lease, to, effect, streams = []) =>
    store.advance(
      lease,
      { to: at(to), handled: 1, ttl, streams },
      (parked) => effect === undefined ? Effect.succeed(undefined) : effect(parked)
    )
  const move: Fresh["move"] = (lease, to) =>
    Effect.map(advance(lease, to), (advanced) => {
      assert.ok(advanced._tag === "Advanced", "the partition is held")
      return advanced.lease
    })
  return {
    store,
    key,
    version: (version) => ({ name, version }),
    register: (changes) =>
      store.register({
        ...key,
        kind: "Projection",
        definition: "{\"on\":[\"Account\"]}",
        partitions: 1,
        from: at(10),
        ...changes
      }),
    take,
    tryTake,
    advance,
    move,
    moveAll: (key, of, to) =>
      Effect.forEach(
        Array.from({ length: of }, (_, index) => index),
        (index) =>
          Effect.flatMap(take("mover", { key, index, of }), (lease) => Effect.flatMap(move(lease, to), store.release)),
        { discard: true }
      ),
    versions,
    partitions: partitionsOf(key),
    checkpoints: (of = key) => Effect.map(partitionsOf(of), (partitions) => partitions.map(({ at }) => at)),
    parked: Effect.map(
      store.parked(key, { after: Position.start, limit: 1_000 }),
      (events) => events.map(({ position }) => sequenceOf(position))
    )
  }
}

export const parkedEvent = (sequence: number, changes: Partial<CheckpointStore.ParkedEvent> = {}) => ({
  position: at(sequence),
  eventId: `event-${sequence}`,
  stream: "Account/a",
  reason: "it is poison",
  kind: "Poison" as const,
  time: 1_700_000_000_000 + sequence,
  ...changes
})

/** The tag of a failure, and its reason if it has one. */
export const failureOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    const reason: unknown = Reflect.get(error, "reason")
    return typeof reason === "string" ? `${error._tag}: ${reason}` : error._tag
  })

/**
 * Runs an operation beside an open transaction, and gives the exits of both. The transaction waits inside until the other
 * operation has ended, for a short time: an operation that has to wait for the transaction does not end before.
 */
export const beside = <A, E, R, B, E1, R1>(
  transaction: (inside: Effect.Effect<void>) => Effect.Effect<A, E, R>,
  other: Effect.Effect<B, E1, R1>
): Effect.Effect<{ readonly first: Exit.Exit<A, E>; readonly second: Exit.Exit<B, E1> }, never, R | R1> =>
  Effect.gen(function*() {
    const isInside = yield* Deferred.make<void>()
    const hasEnded = yield* Deferred.make<void>()
    const inside = Effect.zipRight(
      Deferred.succeed(isInside, undefined),
      Effect.asVoid(Effect.timeoutOption(Deferred.await(hasEnded), "100 millis"))
    )
    const second = Effect.zipRight(
      Deferred.await(isInside),
      Effect.ensuring(Effect.exit(other), Deferred.succeed(hasEnded, undefined))
    )
    const first = Effect.ensuring(Effect.exit(transaction(inside)), Deferred.succeed(isInside, undefined))
    return yield* Effect.all({ first, second }, { concurrency: "unbounded" })
  })

export const succeeded = <A, E>(exit: Exit.Exit<A, E>): A => {
  assert.ok(Exit.isSuccess(exit), `it failed: ${String(exit)}`)
  return exit.value
}
