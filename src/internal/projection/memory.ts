// Keeps checkpoints in memory.
// Each partition has a lock in the place of a row lock. What an effect parks is kept back until its transaction ends.
// Costs a few look-ups an operation; leases follow the Clock of Effect.
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Position from "../../Position.js"
import { later } from "../store/later.js"
import * as Local from "./local.js"
import {
  common,
  holdOf,
  isLeased,
  makePartitions,
  membersOf,
  type Partition,
  registered,
  stateOf,
  type Subscriptions
} from "./memoryTables.js"
import type { Advanced, AdvanceOptions, Attendance, Key, Lease, ParkedEvent, Registration, Stopped } from "./model.js"
import { LeaseLost, SubscriptionMismatch } from "./storeErrors.js"

/** What the transaction of the fiber does when it ends. */
const pending = globalValue(
  "effect-eventsourcing/internal/projection/pending",
  () => FiberRef.unsafeMake<Array<() => void> | undefined>(undefined)
)

export const make = Effect.sync(() => {
  const all: Subscriptions = new Map()
  return {
    register: (registration: Registration) => Effect.suspend(() => register(all, registration)),
    attend: (key: Key, options: { readonly owner: string; readonly ttl: number }) =>
      Effect.map(Clock.currentTimeMillis, (now) => attend(all, key, options, now)),
    leave: (key: Key, owner: string) => Effect.sync(() => void all.get(text(key))?.members.delete(owner)),
    acquire: (key: Key, options: Acquisition) => acquire(all, key, options),
    renew: (lease: Lease, ttl: number) =>
      owned(all, lease, (partition, now) => {
        partition.leasedUntil = now + ttl
        return { ...lease, position: partition.position }
      }),
    release: (lease: Lease) => Effect.ignore(owned(all, lease, free)),
    advance: <A, E, R>(
      lease: Lease,
      options: AdvanceOptions,
      effect: (parked: ReadonlySet<string>) => Effect.Effect<A, E, R>
    ) => advance(all, lease, options, effect),
    stop: (lease: Lease, stopped: Stopped) =>
      owned(all, lease, (partition) => {
        partition.stopped = stopped
        free(partition)
      }),
    resume: (key: Key) =>
      locked(
        partitionsOf(all, [key]),
        Effect.sync(() => {
          const stopped = partitionsOf(all, [key]).filter((partition) => partition.stopped !== undefined)
          for (const partition of stopped) partition.stopped = undefined
          return stopped.length
        })
      ),
    park: (key: Key, events: ReadonlyArray<ParkedEvent>) => park(all, key, events),
    parked: (key: Key, options: ParkedOptions) => Effect.sync(() => parkedOf(all, key, options)),
    unpark: <A, E, R>(key: Key, positions: ReadonlyArray<Position.Position>, effect: Effect.Effect<A, E, R>) =>
      unpark(all, key, positions, effect),
    hold: (keys: ReadonlyArray<Key>, ttl: number) => hold(all, keys, ttl),
    repartition: (key: Key) => Effect.suspend(() => repartition(all, key)),
    promote: <A, E, R>(key: Key, effect: Effect.Effect<A, E, R>) => promote(all, key, effect),
    remove: (key: Key) => Effect.flatMap(Clock.currentTimeMillis, (now) => remove(all, key, now)),
    list: Effect.map(Clock.currentTimeMillis, (now) => Array.from(all.values(), (one) => registered(one, now))),
    sharesDatabase: (_: Context.Context<never>) => true,
    local: Local.make()
  }
})

type Acquisition = { readonly owner: string; readonly ttl: number; readonly index: number; readonly of: number }

type ParkedOptions = {
  readonly after: Position.Position
  readonly limit: number
  readonly stream?: string | undefined
}

const text = ({ name, version }: Key): string => `${version} ${name}`

const versionsOf = (all: Subscriptions, name: string) =>
  Array.from(all.values()).filter(({ registration }) => registration.name === name)

const partitionsOf = (all: Subscriptions, keys: ReadonlyArray<Key>): ReadonlyArray<Partition> =>
  keys.flatMap((key) => all.get(text(key))?.partitions ?? [])

const mismatch = ({ name, version }: Key, reason: SubscriptionMismatch["reason"]) =>
  new SubscriptionMismatch({ name, version, reason })

const register = (
  all: Subscriptions,
  registration: Registration
): Effect.Effect<void, SubscriptionMismatch> => {
  const known = all.get(text(registration))
  if (known !== undefined) {
    const { definition, kind } = known.registration
    if (kind !== registration.kind || definition !== registration.definition) {
      return mismatch(registration, "OtherDefinition")
    }
    known.wanted = registration.partitions
    return Effect.void
  }
  const versions = versionsOf(all, registration.name)
  if (versions.some((one) => one.registration.kind !== registration.kind)) {
    return mismatch(registration, "OtherDefinition")
  }
  if (versions.some((one) => one.registration.version > registration.version)) {
    return mismatch(registration, "OlderVersion")
  }
  all.set(text(registration), {
    registration,
    wanted: registration.partitions,
    active: versions.length === 0,
    partitions: makePartitions(registration.partitions, registration.from, 0),
    members: new Map(),
    parked: new Map()
  })
  return Effect.void
}

const attend = (
  all: Subscriptions,
  key: Key,
  { owner, ttl }: { readonly owner: string; readonly ttl: number },
  now: number
): Attendance => {
  const subscription = all.get(text(key))
  if (subscription === undefined) return { members: 0, wanted: 0, partitions: [] }
  subscription.members.set(owner, now + ttl)
  return {
    members: membersOf(subscription, now),
    wanted: subscription.wanted,
    partitions: subscription.partitions.map((partition) => stateOf(partition, now))
  }
}

const acquire = (all: Subscriptions, key: Key, { index, of, owner, ttl }: Acquisition) =>
  Effect.suspend(() => {
    const partition = all.get(text(key))?.partitions[index]
    if (partition === undefined || partition.of !== of) return Effect.succeed(Option.none<Lease>())
    const taken = Effect.map(Clock.currentTimeMillis, (now): Option.Option<Lease> => {
      if (isLeased(partition, now) || partition.stopped !== undefined) return Option.none()
      partition.owner = owner
      partition.leasedUntil = now + ttl
      partition.epoch += 1
      const { epoch, position } = partition
      return Option.some({ name: key.name, version: key.version, index, of, owner, epoch, position })
    })
    return Effect.map(partition.lock.withPermitsIfAvailable(1)(taken), Option.flatten)
  })

const free = (partition: Partition): void => {
  partition.owner = undefined
  partition.leasedUntil = 0
}

const ownedNow = (all: Subscriptions, lease: Lease): Partition | LeaseLost => {
  const partition = all.get(text(lease))?.partitions[lease.index]
  return partition !== undefined && partition.epoch === lease.epoch && partition.owner === lease.owner
    ? partition
    : new LeaseLost({ name: lease.name, version: lease.version, index: lease.index, epoch: lease.epoch })
}

const owned = <A>(
  all: Subscriptions,
  lease: Lease,
  change: (partition: Partition, now: number) => A
): Effect.Effect<A, LeaseLost> =>
  Effect.suspend(() => {
    const partition = ownedNow(all, lease)
    if (partition instanceof LeaseLost) return partition
    return partition.lock.withPermits(1)(Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const still = ownedNow(all, lease)
      return still instanceof LeaseLost ? still : Effect.sync(() => change(still, now))
    }))
  })

/** Runs an effect with the locks of partitions, which are always taken in the same order. */
const locked = <A, E, R>(
  partitions: ReadonlyArray<Partition>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => partitions.reduceRight((inner, { lock }) => lock.withPermits(1)(inner), effect)

/** Runs an effect whose changes of the store take place together, if it succeeds. */
const transaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const changes: Array<() => void> = []
    return Effect.tap(
      Effect.locally(effect, pending, changes),
      () => Effect.sync(() => changes.forEach((change) => change()))
    )
  })

/** Changes the store at the end of the open transaction, or at once. */
const change = (run: () => void): Effect.Effect<void> =>
  Effect.flatMap(
    FiberRef.get(pending),
    (changes) => Effect.sync(() => changes === undefined ? run() : changes.push(run))
  )

const advance = <A, E, R>(
  all: Subscriptions,
  lease: Lease,
  { handled, streams, to, ttl }: AdvanceOptions,
  effect: (parked: ReadonlySet<string>) => Effect.Effect<A, E, R>
): Effect.Effect<Advanced<A>, E | LeaseLost, R> =>
  Effect.suspend(() => {
    const found = ownedNow(all, lease)
    if (found instanceof LeaseLost) return found
    return locked(
      [found],
      Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<Advanced<A>, E | LeaseLost, R> => {
        const partition = ownedNow(all, lease)
        if (partition instanceof LeaseLost) return partition
        if (partition.position !== lease.position) return lost(lease)
        const hold = holdOf(partition, now)
        if (hold !== undefined && Position.Order(to, hold) > 0) return Effect.succeed({ _tag: "Held", hold })
        return Effect.zipWith(
          transaction(Effect.suspend(() => effect(parkedStreams(all, lease, streams)))),
          Clock.currentTimeMillis,
          (value, end) => {
            partition.position = to
            partition.handled += handled
            partition.leasedUntil = end + ttl
            return { _tag: "Advanced", lease: { ...lease, position: to }, value }
          }
        )
      })
    )
  })

const lost = ({ epoch, index, name, version }: Lease) => new LeaseLost({ name, version, index, epoch })

const parkedStreams = (all: Subscriptions, key: Key, streams: ReadonlyArray<string>): ReadonlySet<string> => {
  const parked = new Set(Array.from(all.get(text(key))?.parked.values() ?? [], ({ stream }) => stream))
  return new Set(streams.filter((stream) => parked.has(stream)))
}

const park = (all: Subscriptions, key: Key, events: ReadonlyArray<ParkedEvent>): Effect.Effect<void> =>
  change(() => {
    for (const event of events) all.get(text(key))?.parked.set(event.position, event)
  })

const parkedOf = (
  all: Subscriptions,
  key: Key,
  { after, limit, stream }: ParkedOptions
): ReadonlyArray<ParkedEvent> =>
  Array.from(all.get(text(key))?.parked.values() ?? [])
    .filter((event) => Position.Order(event.position, after) > 0 && (stream === undefined || event.stream === stream))
    .sort((a, b) => Position.Order(a.position, b.position))
    .slice(0, limit)

const unpark = <A, E, R>(
  all: Subscriptions,
  key: Key,
  positions: ReadonlyArray<Position.Position>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E, R> =>
  Effect.suspend(() =>
    locked(
      partitionsOf(all, [key]),
      Effect.suspend((): Effect.Effect<Option.Option<A>, E, R> => {
        const parked = all.get(text(key))?.parked
        if (parked === undefined || positions.some((position) => !parked.has(position))) return Effect.succeedNone
        return Effect.map(transaction(effect), (value) => {
          for (const position of positions) parked.delete(position)
          return Option.some(value)
        })
      })
    )
  )

const hold = (all: Subscriptions, keys: ReadonlyArray<Key>, ttl: number): Effect.Effect<Position.Position> =>
  Effect.suspend(() => {
    const partitions = partitionsOf(all, keys)
    return locked(
      partitions,
      Effect.map(Clock.currentTimeMillis, (now) => {
        const at = partitions.map(({ position }) => position).reduce(later, Position.start)
        for (const partition of partitions) partition.hold = { at, until: now + ttl }
        return at
      })
    )
  })

const repartition = (all: Subscriptions, key: Key): Effect.Effect<boolean> => {
  const old = all.get(text(key))?.partitions ?? []
  return locked(
    old,
    Effect.sync(() => {
      const subscription = all.get(text(key))
      if (subscription === undefined || subscription.partitions !== old) return false
      if (old.length === subscription.wanted) return true
      const position = common(old)
      if (position === undefined) return false
      const handled = old.reduce((sum, partition) => sum + partition.handled, 0)
      const epoch = old.reduce((highest, partition) => Math.max(highest, partition.epoch), 0) + 1
      subscription.partitions = makePartitions(subscription.wanted, position, epoch)
      subscription.partitions[0].handled = handled
      return true
    })
  )
}

const promote = <A, E, R>(
  all: Subscriptions,
  key: Key,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | SubscriptionMismatch, R> =>
  Effect.suspend((): Effect.Effect<Option.Option<A>, E | SubscriptionMismatch, R> => {
    const next = all.get(text(key))
    if (next === undefined) return mismatch(key, "Unknown")
    const active = versionsOf(all, key.name).find((one) => one.active)
    const partitions = active === undefined || active === next
      ? next.partitions
      : [active, next].sort((a, b) => a.registration.version - b.registration.version).flatMap((one) => one.partitions)
    return locked(
      partitions,
      Effect.suspend((): Effect.Effect<Option.Option<A>, E, R> => {
        if (active?.active === false || common(partitions) === undefined) return Effect.succeedNone
        return Effect.map(transaction(effect), (value) => {
          if (active !== undefined) active.active = false
          next.active = true
          for (const partition of partitions) partition.hold = undefined
          return Option.some(value)
        })
      })
    )
  })

const remove = (all: Subscriptions, key: Key, now: number): Effect.Effect<boolean, SubscriptionMismatch> => {
  const subscription = all.get(text(key))
  if (subscription === undefined) return Effect.succeed(false)
  if (subscription.active) return mismatch(key, "Active")
  if (subscription.partitions.some((partition) => isLeased(partition, now))) return mismatch(key, "Owned")
  return Effect.sync(() => all.delete(text(key)))
}
