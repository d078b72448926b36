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
import { common, inherited } from "./alignment.js"
import * as Holding from "./holding.js"
import * as Local from "./local.js"
import {
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
import { verdict } from "./registering.js"
import { LeaseLost, lost, mismatch, SubscriptionMismatch } from "./storeErrors.js"

/** What the transaction of the fiber does when it ends. */
interface Pending {
  open: boolean
  readonly changes: Array<() => void>
}

const pending = globalValue(
  "effect-eventsourcing/internal/projection/pending",
  () => FiberRef.unsafeMake<Pending | undefined>(undefined)
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
      effect: (parked: ReadonlySet<string>, someInline: boolean) => Effect.Effect<A, E, R>
    ) => advance(all, lease, options, effect),
    stop: (lease: Lease, stopped: Stopped) =>
      owned(all, lease, (partition) => {
        partition.stopped = stopped
        free(partition)
      }),
    resume: (key: Key) =>
      locking(all, () => [key], (partitions) =>
        Effect.sync(() => {
          const stopped = partitions.filter((partition) => partition.stopped !== undefined)
          for (const partition of stopped) partition.stopped = undefined
          return stopped.length
        })),
    park: (key: Key, events: ReadonlyArray<ParkedEvent>) => park(all, key, events),
    parked: (key: Key, options: ParkedOptions) => Effect.sync(() => parkedOf(all, key, options)),
    unpark: <A, E, R>(key: Key, positions: ReadonlyArray<Position.Position>, effect: Effect.Effect<A, E, R>) =>
      unpark(all, key, positions, effect),
    hold: (keys: ReadonlyArray<Key>, ttl: number) => hold(all, keys, ttl),
    repartition: (key: Key) => repartition(all, key),
    promote: <A, E, R>(key: Key, effect: Effect.Effect<A, E, R>) => promote(all, key, effect),
    remove: (key: Key, options: { readonly active: boolean }) => remove(all, key, options),
    list: Effect.map(Clock.currentTimeMillis, (now) => Array.from(all.values(), (one) => registered(one, now))),
    sharesDatabase: (_: Context.Context<never>) => true,
    // what a handler changes in memory is not undone with an append
    inline: Option.none(),
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

/** The partitions of versions, always in the same order. */
const partitionsOf = (all: Subscriptions, keys: ReadonlyArray<Key>): ReadonlyArray<Partition> =>
  Array.from(new Set(keys.map(text))).sort().flatMap((key) => all.get(key)?.partitions ?? [])

const register = (
  all: Subscriptions,
  registration: Registration
): Effect.Effect<void, SubscriptionMismatch> => {
  const versions = versionsOf(all, registration.name)
  const known = verdict(versions.map(({ registration }) => registration), registration)
  if (known instanceof SubscriptionMismatch) return known
  if (known === "Known") {
    for (const version of versions) {
      if (version.registration.version === registration.version) version.wanted = registration.partitions
    }
    return Effect.void
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
      // the partitions may have changed until the lock was free
      if (all.get(text(key))?.partitions[index] !== partition) return Option.none()
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
  return partition !== undefined && partition.of === lease.of && partition.epoch === lease.epoch &&
      partition.owner === lease.owner
    ? partition
    : lost(lease)
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

/** Runs an effect with the locks of all partitions of versions. If they changed meanwhile, it locks the new ones. */
const locking = <A, E, R>(
  all: Subscriptions,
  keysOf: () => ReadonlyArray<Key>,
  use: (partitions: ReadonlyArray<Partition>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const partitions = partitionsOf(all, keysOf())
    const unlessChanged = Effect.suspend(() => {
      const now = partitionsOf(all, keysOf())
      const isSame = now.length === partitions.length &&
        now.every((partition, index) => partition === partitions[index])
      return isSame ? Effect.asSome(use(partitions)) : Effect.succeedNone
    })
    return Effect.flatMap(
      locked(partitions, unlessChanged),
      Option.match({ onNone: () => locking(all, keysOf, use), onSome: (value) => Effect.succeed(value) })
    )
  })

/** Runs an effect whose changes of the store take place together with those of `end`, if it succeeds. */
const transaction = <A, B, E, R>(
  effect: Effect.Effect<A, E, R>,
  end: (value: A, now: number) => B,
  begin?: () => void
): Effect.Effect<B, E, R> =>
  Effect.flatMap(FiberRef.get(pending), (outer) => {
    const mine: Pending = { open: true, changes: begin === undefined ? [] : [begin] }
    const within = Effect.ensuring(
      Effect.locally(effect, pending, mine),
      Effect.sync(() => {
        mine.open = false
      })
    )
    return Effect.flatMap(within, (value) =>
      // one step: an interruption does not come in between
      Effect.clockWith((clock) =>
        Effect.sync(() => {
          for (const change of mine.changes) {
            if (outer?.open === true) outer.changes.push(change)
            else change()
          }
          return end(value, clock.unsafeCurrentTimeMillis())
        })
      ))
  })

/** Changes the store at the end of the open transaction, or at once. */
const change = (run: () => void): Effect.Effect<void> =>
  Effect.flatMap(
    FiberRef.get(pending),
    (transaction) => Effect.sync(() => transaction?.open === true ? transaction.changes.push(run) : run())
  )

const advance = <A, E, R>(
  all: Subscriptions,
  lease: Lease,
  { handled, streams, to, ttl }: AdvanceOptions,
  effect: (parked: ReadonlySet<string>, someInline: boolean) => Effect.Effect<A, E, R>
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
        return transaction(
          Effect.suspend(() => effect(parkedStreams(all, lease, streams), false)),
          (value, end): Advanced<A> => {
            partition.position = to
            partition.handled += handled
            partition.leasedUntil = end + ttl
            const active = all.get(text(lease))?.active
            return { _tag: "Advanced", lease: { ...lease, position: to }, value, active }
          }
        )
      })
    )
  })

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
  locking(all, () => [key], (): Effect.Effect<Option.Option<A>, E, R> => {
    const parked = all.get(text(key))?.parked
    if (parked === undefined || positions.some((position) => !parked.has(position))) return Effect.succeedNone
    // before the effect, which may park some of them again
    return transaction(effect, Option.some, () => {
      for (const position of positions) parked.delete(position)
    })
  })

const hold = (all: Subscriptions, keys: ReadonlyArray<Key>, ttl: number): Effect.Effect<Position.Position> =>
  Effect.gen(function*() {
    for (let looks = 1;; looks++) {
      const partitions = holdsOf(all, keys, yield* Clock.currentTimeMillis)
      const at = Holding.target(partitions)
      const wanted = Holding.toHold(partitions, at, ttl)
      if (wanted.length === 0 || looks > Holding.maxLooks) return at
      let highest = at
      for (const { partition } of wanted) {
        highest = yield* partition.lock.withPermits(1)(Effect.map(Clock.currentTimeMillis, (now) => {
          const before = { position: partition.position, hold: Option.fromNullable(holdOf(partition, now)) }
          const until = Math.max(partition.hold?.until ?? 0, now + ttl)
          partition.hold = { at: Holding.heldAt(before, highest), until }
          return partition.hold.at
        }))
      }
    }
  })

const holdsOf = (all: Subscriptions, keys: ReadonlyArray<Key>, now: number) =>
  partitionsOf(all, keys).map((partition): Holding.Held & { readonly partition: Partition } => ({
    position: partition.position,
    hold: Option.fromNullable(holdOf(partition, now)),
    left: (partition.hold?.until ?? now) - now,
    partition
  }))

const repartition = (all: Subscriptions, key: Key): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const subscription = all.get(text(key))
    if (subscription === undefined) return Effect.succeed(false)
    if (subscription.partitions.length === subscription.wanted) return Effect.succeed(true)
    // no batch is waited for in vain
    if (common(subscription.partitions) === undefined) return Effect.succeed(false)
    return locking(all, () => [key], (old) =>
      Effect.sync(() => {
        const { wanted } = subscription
        if (old.length === wanted) return true
        const position = common(old)
        if (position === undefined) return false
        const { epoch, handled } = inherited(old)
        subscription.partitions = makePartitions(wanted, position, epoch)
        subscription.partitions[0].handled = handled
        return true
      }))
  })

const promote = <A, E, R>(
  all: Subscriptions,
  key: Key,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | SubscriptionMismatch, R> => {
  const activeOf = () => versionsOf(all, key.name).find((one) => one.active)
  const keysOf = () => {
    const active = activeOf()
    return active === undefined ? [key] : [active.registration, key]
  }
  return locking(all, keysOf, (partitions): Effect.Effect<Option.Option<A>, E | SubscriptionMismatch, R> => {
    const next = all.get(text(key))
    if (next === undefined) return mismatch(key, "Unknown")
    if (common(partitions) === undefined) return Effect.succeedNone
    return transaction(effect, (value) => {
      for (const version of versionsOf(all, key.name)) version.active = version === next
      for (const partition of partitions) partition.hold = undefined
      return Option.some(value)
    })
  })
}

const remove = (
  all: Subscriptions,
  key: Key,
  { active }: { readonly active: boolean }
): Effect.Effect<boolean, SubscriptionMismatch> =>
  locking(all, () => [key], (partitions) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const subscription = all.get(text(key))
      if (subscription === undefined) return Effect.succeed(false)
      if (subscription.active && !active) return mismatch(key, "Active")
      // a process may own no partition for a moment, as after a change of their number
      const isOwned = membersOf(subscription, now) > 0 || partitions.some((partition) => isLeased(partition, now))
      if (isOwned) return mismatch(key, "Owned")
      return Effect.sync(() => all.delete(text(key)))
    }))
