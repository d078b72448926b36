// What the loops of a subscription work with.
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type { CheckpointStore } from "../../CheckpointStore.js"
import type { EventStore } from "../../EventStore.js"
import type * as Position from "../../Position.js"
import type * as Counters from "../counters.js"
import type { Signal } from "../signal.js"
import type { Item, Reading } from "./definition.js"
import type { Local, LocalReport } from "./local.js"
import type { Lookout } from "./lookout.js"
import type { Key, Lease } from "./model.js"

/** What happens to an event that cannot be handled. */
export type Poison = "stop" | "park" | "parkStream"

export interface Options {
  readonly pageSize: number
  readonly partitions: number
  /** Milliseconds. */
  readonly ttl: number
  readonly timeout: Duration.Duration
  readonly retry: Schedule.Schedule<unknown, unknown>
  readonly isPassing: (error: unknown) => boolean
  /** Whether the events may have personal data. */
  readonly personal: boolean
  readonly poison: Poison
  readonly maxDelay: Duration.Duration
  /** How long the reader rests at the end of the feed before it looks again, in milliseconds. */
  readonly rest: number
}

/** A batch of sound events, in the order of their positions. */
export interface Batch<out E> {
  readonly items: ReadonlyArray<Item<E>>
  /** The checkpoint after the batch. */
  readonly to: Position.Position
}

/** Handles a batch and advances the checkpoint. */
export interface Deliver<in E, out R> {
  (site: Site, lease: Lease, batch: Batch<E>): Effect.Effect<Delivered, unknown, R>
}

export type Delivered =
  | {
    readonly _tag: "Advanced"
    readonly lease: Lease
    /** When the events were begun, in elapsed milliseconds, after a lock was waited for. */
    readonly begun?: number | undefined
    /** Whether the version was the active one, if the store says that. */
    readonly active?: boolean | undefined
  }
  | { readonly _tag: "Held"; readonly hold: Position.Position }
  /** The checkpoint is before an event that cannot be handled. */
  | {
    readonly _tag: "Stopped"
    readonly lease: Lease
    readonly position: Position.Position
    readonly reason: string
  }

export interface Worker<in out E, out R> extends Site {
  readonly reading: Reading<E>
  readonly deliver: Deliver<E, R>
}

/** The part of a worker that does not depend on the types of its events. */
export interface Site {
  readonly key: Key
  readonly owner: string
  readonly checkpoints: CheckpointStore["Type"]
  readonly events: EventStore["Type"]
  readonly options: Options
  /** Rings when events were appended. */
  readonly appended: Signal
  /** Looks at the end of the feed for all partitions of this process. */
  readonly lookout: Lookout
  readonly local: Local
  readonly report: LocalReport
  readonly meter: Counters.Projections
  /** Whether the partition is given back, or the layer is being closed. */
  readonly isClosing: () => boolean
  /** Ends when that begins. */
  readonly closing: Effect.Effect<void>
}

/** Waits, but no longer than until the partition is given back or the layer is closed: then it gives `None`. */
export const unlessClosing = <A>(
  { closing }: Pick<Site, "closing">,
  waiting: Effect.Effect<A>
): Effect.Effect<Option.Option<A>> => Effect.raceFirst(Effect.asSome(waiting), Effect.as(closing, Option.none()))
