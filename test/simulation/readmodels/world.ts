// The world of a simulation of read models: the stores, the tables that handlers write, what the outside received, and
// the laws that hold at every commit.
import { Effect, FiberRef, Option } from "effect"
import type * as Library from "../library.js"
import type { Subject } from "../simulation.js"
import type { Dice } from "../virtual.js"

export type Events = Library.EventStore.EventStore["Type"]
export type Checkpoints = Library.CheckpointStore.CheckpointStore["Type"]
export type Key = Library.CheckpointStore.Key
export type Position = Library.Position.Position

/** What is wrong with an event. */
export interface Trouble {
  readonly kind: "Broken" | "Flaky" | "Outage" | "Unreadable"
  readonly how: "fail" | "die" | "throw" | "hang"
  /** How often a flaky one still fails. */
  left: number
  /** When an outage ends. */
  readonly until: number
}

/** An event of the feed. */
export interface Fed {
  readonly id: string
  readonly position: Position
  readonly stream: Library.StreamId.StreamId
  readonly version: number
  readonly type: string
  readonly isReadable: boolean
  /** The partition of its stream, by the number of partitions. */
  readonly partitions: ReadonlyArray<number>
}

export interface Definition {
  readonly name: string
  readonly kind: "Projection" | "Subscription"
  readonly poison: "stop" | "park" | "parkStream"
  /** Whether the definition handles the event, if it is sound. */
  readonly wants: (event: Fed) => boolean
  /** Whether the definition meets the event, even if it does not decode. */
  readonly reads: (event: Fed) => boolean
}

export interface World {
  readonly subject: Subject
  readonly dice: Dice
  readonly events: Events
  readonly checkpoints: Checkpoints
  readonly definitions: ReadonlyMap<string, Definition>
  readonly feed: Array<Fed>
  readonly appended: { count: number }
  readonly troubles: Map<string, Trouble>
  /** The rows of projections, in the order in which they were written, by `textOf` the key. */
  readonly tables: Map<string, Array<Fed>>
  /** What the outside received. */
  readonly deliveries: Map<string, Array<Fed>>
  /** Parked events that were given up. */
  readonly dropped: Map<string, Set<Position>>
  /** Where subscriptions began. */
  readonly origins: Map<string, Position>
  /** How often an event failed since it was last set aside. */
  readonly fails: Map<string, number>
  readonly trace: Array<string>
  readonly problems: Array<string>
  readonly counts: Record<string, number>
  /** Whether stores work without faults. */
  calm: boolean
  /** Whether every event that decodes can be handled. */
  repaired: boolean
  faults: number
}

export const textOf = ({ name, version }: Key): string => `${name} ${version}`

export const note = (world: World, text: string): void => void world.trace.push(text)

export const count = (world: World, name: string): void => {
  world.counts[name] = (world.counts[name] ?? 0) + 1
}

export const wrong = (world: World, problem: string): void => {
  // one that stays would be told at every commit
  if (world.problems.includes(problem)) return
  world.trace.push(`WRONG ${problem}`)
  world.problems.push(problem)
}

/** The writes of the transaction that is open in the fiber. */
export const transaction = FiberRef.unsafeMake<Array<() => void> | undefined>(undefined)

/** Writes in the transaction that is open, or at once. */
export const write = (run: () => void): Effect.Effect<void> =>
  Effect.flatMap(FiberRef.get(transaction), (writes) =>
    Effect.sync(() => {
      if (writes === undefined) run()
      else writes.push(run)
    }))

export const rowsOf = (rows: Map<string, Array<Fed>>, key: Key): Array<Fed> => {
  const found = rows.get(textOf(key))
  if (found !== undefined) return found
  const made: Array<Fed> = []
  rows.set(textOf(key), made)
  return made
}

export const droppedOf = ({ dropped }: World, key: Key): Set<Position> => {
  const found = dropped.get(textOf(key)) ?? new Set()
  dropped.set(textOf(key), found)
  return found
}

/** Reads what was appended since the last time. */
export const follow = (world: World): Effect.Effect<void> =>
  Effect.map(
    Effect.orDie(world.events.readPage({ after: world.feed.at(-1)?.position, limit: 1_000 })),
    ({ events }) => {
      for (const recorded of events) {
        const { id, position, stream, type, version } = recorded
        const partitions = [1, 1, 2, 3].map((of) => world.subject.StreamId.partition(stream, of))
        world.feed.push({ id, position, stream, type, version, isReadable: !isUnreadable(world, id), partitions })
      }
    }
  )

const isUnreadable = ({ troubles }: World, id: string): boolean => troubles.get(id)?.kind === "Unreadable"

const parkedOf = ({ checkpoints, subject: { Position: { start } } }: World, key: Key) =>
  Effect.map(
    Effect.orDie(checkpoints.parked(key, { after: start, limit: 10_000 })),
    (parked) => new Map(parked.map((event) => [event.position, event]))
  )

/** Checks the laws of one version of a projection or a subscription. */
export const check = (world: World, key: Key): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* follow(world)
    const all = yield* Effect.orDie(world.checkpoints.list)
    const registered = all.find(({ name, version }) => name === key.name && version === key.version)
    const definition = world.definitions.get(key.name)!
    const rows = rowsOf(world.tables, key)
    if (registered === undefined) {
      if (rows.length > 0) wrong(world, `${textOf(key)} was removed and has rows`)
      return
    }
    const parked = yield* parkedOf(world, key)
    if (definition.kind === "Projection") checkRows(world, key, registered, definition, parked)
    else checkDeliveries(world, key, registered, definition, parked)
  })

type Parked = ReadonlyMap<Position, Library.CheckpointStore.ParkedEvent>

/** The checkpoint of the partition to which an event belongs. */
const reachedOf = ({ partitions }: Library.CheckpointStore.Registered, event: Fed): Position =>
  partitions[event.partitions[partitions.length]].position

const isUpTo = ({ subject }: World, position: Position, end: Position): boolean =>
  subject.Position.Order(position, end) <= 0

/** The read model equals the fold of the feed up to the checkpoint, without the parked events. */
const checkRows = (
  world: World,
  key: Key,
  registered: Library.CheckpointStore.Registered,
  definition: Definition,
  parked: Parked
): void => {
  const rows = rowsOf(world.tables, key)
  const times = new Map<string, number>()
  const last = new Map<string, number>()
  for (const { id, stream, version } of rows) {
    times.set(id, (times.get(id) ?? 0) + 1)
    const name = `${stream.aggregate} ${stream.id}`
    if (definition.poison !== "park" && (last.get(name) ?? 0) >= version) {
      wrong(world, `${textOf(key)} handled ${id} after a later event of its stream`)
    }
    last.set(name, version)
  }
  const dropped = droppedOf(world, key)
  for (const event of world.feed) {
    if (!definition.reads(event)) continue
    const applied = times.get(event.id) ?? 0
    const isReached = isUpTo(world, event.position, reachedOf(registered, event))
    const isAside = parked.has(event.position) || dropped.has(event.position)
    const wanted = isReached && !isAside && event.isReadable && definition.wants(event) ? 1 : 0
    if (applied !== wanted) {
      wrong(world, `${textOf(key)} has ${event.id} ${applied} times instead of ${wanted}`)
    }
    if (isReached && !event.isReadable && !isAside) wrong(world, `${textOf(key)} skipped ${event.id}`)
    if (!isReached && isAside) wrong(world, `${textOf(key)} parked ${event.id}, which is after its checkpoint`)
  }
}

/** Everything up to the checkpoint was delivered, or is parked. */
const checkDeliveries = (
  world: World,
  key: Key,
  registered: Library.CheckpointStore.Registered,
  definition: Definition,
  parked: Parked
): void => {
  const delivered = new Set(rowsOf(world.deliveries, key).map(({ id }) => id))
  const dropped = droppedOf(world, key)
  const origin = world.origins.get(textOf(key))!
  for (const event of world.feed) {
    if (!definition.reads(event) || isUpTo(world, event.position, origin)) continue
    if (!isUpTo(world, event.position, reachedOf(registered, event))) continue
    if (parked.has(event.position) || dropped.has(event.position)) continue
    if (event.isReadable ? definition.wants(event) && !delivered.has(event.id) : true) {
      wrong(world, `${textOf(key)} skipped ${event.id}`)
    }
  }
}

/** The outside receives an event. The first time it must be in the order of its stream. */
export const deliver = (world: World, key: Key, event: Fed): void => {
  const definition = world.definitions.get(key.name)!
  const deliveries = rowsOf(world.deliveries, key)
  const known = new Set(deliveries.map(({ id }) => id))
  deliveries.push(event)
  if (known.has(event.id)) return count(world, "delivered again")
  if (definition.poison === "park") return
  const dropped = droppedOf(world, key)
  const origin = world.origins.get(textOf(key))!
  for (const earlier of world.feed) {
    const isEarlier = earlier.stream.id === event.stream.id && earlier.stream.aggregate === event.stream.aggregate &&
      earlier.version < event.version
    if (!isEarlier || !definition.wants(earlier) || isUpTo(world, earlier.position, origin)) continue
    if (!known.has(earlier.id) && !dropped.has(earlier.position)) {
      wrong(world, `${textOf(key)} delivered ${event.id} before ${earlier.id}`)
    }
  }
}

/** An event that is set aside, or at which a partition stops, is one that cannot be handled. */
export const checkPoison = (world: World, key: Key, position: Position, reason: string): void => {
  const event = world.feed.find((event) => event.position === position)
  const trouble = event === undefined ? undefined : world.troubles.get(event.id)
  if (event === undefined || trouble === undefined || trouble.kind === "Outage") {
    wrong(world, `${textOf(key)} took ${event?.id ?? "nothing"} for poison: ${reason}`)
  } else world.fails.delete(`${textOf(key)} ${event.id}`)
}

/** After a quiet time, every partition has an owner and stands at the end of the feed, or is stopped. */
export const checkQuiet = (world: World, isStopAllowed: boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* follow(world)
    const head = yield* Effect.orDie(world.events.head)
    for (const registered of yield* Effect.orDie(world.checkpoints.list)) {
      yield* check(world, registered)
      for (const { index, owner, position, stopped } of registered.partitions) {
        const name = `partition ${index} of ${textOf(registered)}`
        if (Option.isSome(stopped)) {
          if (!isStopAllowed) wrong(world, `${name} is stopped: ${stopped.value.reason}`)
          continue
        }
        if (Option.isNone(owner)) wrong(world, `${name} has no owner`)
        if (position !== head) wrong(world, `${name} stands at ${position}, and the feed ends at ${head}`)
      }
    }
  })
