// The tables of the checkpoint store in memory, and what they say at a time.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Position from "../../Position.js"
import type { ParkedEvent, PartitionState, Registered, Registration, Stopped } from "./model.js"

export interface Partition {
  readonly index: number
  readonly of: number
  readonly lock: Effect.Semaphore
  position: Position.Position
  handled: number
  owner: string | undefined
  leasedUntil: number
  epoch: number
  stopped: Stopped | undefined
  hold: { readonly at: Position.Position; readonly until: number } | undefined
}

export interface Subscription {
  readonly registration: Registration
  wanted: number
  active: boolean
  partitions: ReadonlyArray<Partition>
  /** When each process that works for the subscription has to report again. */
  readonly members: Map<string, number>
  readonly parked: Map<Position.Position, ParkedEvent>
}

export type Subscriptions = Map<string, Subscription>

export const makePartitions = (of: number, position: Position.Position, epoch: number): ReadonlyArray<Partition> =>
  Array.from({ length: of }, (_, index) => ({
    index,
    of,
    lock: Effect.unsafeMakeSemaphore(1),
    position,
    handled: 0,
    owner: undefined,
    leasedUntil: 0,
    epoch,
    stopped: undefined,
    hold: undefined
  }))

export const membersOf = ({ members }: Subscription, now: number): number =>
  Array.from(members.values()).filter((until) => until > now).length

export const stateOf = (partition: Partition, now: number): PartitionState => ({
  index: partition.index,
  of: partition.of,
  position: partition.position,
  handled: partition.handled,
  owner: isLeased(partition, now) ? Option.fromNullable(partition.owner) : Option.none(),
  epoch: partition.epoch,
  stopped: Option.fromNullable(partition.stopped),
  hold: Option.fromNullable(holdOf(partition, now))
})

export const isLeased = (partition: Partition, now: number): boolean =>
  partition.owner !== undefined && partition.leasedUntil > now

export const holdOf = ({ hold }: Partition, now: number): Position.Position | undefined =>
  hold !== undefined && hold.until > now ? hold.at : undefined

export const registered = (subscription: Subscription, now: number): Registered => ({
  name: subscription.registration.name,
  version: subscription.registration.version,
  kind: subscription.registration.kind,
  active: subscription.active,
  members: membersOf(subscription, now),
  parked: subscription.parked.size,
  partitions: subscription.partitions.map((partition) => stateOf(partition, now))
})
