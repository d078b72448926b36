import type { SqlClient } from "@effect/sql"
import { Effect, type ManagedRuntime } from "effect"
import type { EventStore, SnapshotStore, StreamId } from "effect-eventsourcing"
import type { AccountEvent } from "./fixtures.js"
import type { Work } from "./measure.js"

export type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | SqlClient.SqlClient

/** A database with the library on it, and the driver beside it. */
export interface Backend {
  readonly name: "SQLite" | "PostgreSQL" | "PostgreSQL, prepared"
  /** The file, or the URL. */
  readonly database: string
  readonly runtime: ManagedRuntime.ManagedRuntime<Services, unknown>
  readonly driver: Driver
  readonly version: () => Promise<string>
  /** What the server does by itself after a while: counts the rows that were seeded. */
  readonly settle: () => Promise<void>
  /** How many statements reach the database while the effect runs. */
  readonly countStatements: (effect: Effect.Effect<unknown, unknown, Services>) => Promise<number>
  readonly close: () => Promise<void>
}

/** An event of a history, with its place. */
export interface HistoricEvent {
  readonly stream: StreamId.StreamId
  readonly version: number
  readonly event: AccountEvent
  /** In milliseconds since 1970. */
  readonly time: number
}

/** The floors: what the driver does by itself, on the very tables of the library, with prepared statements. */
export interface Driver {
  /** The events of a stream, read at once, parsed and reduced. */
  readonly replay: <State, Payload>(
    stream: StreamId.StreamId,
    state: State,
    evolve: (state: State, payload: Payload) => State
  ) => State | Promise<State>
  /** The same of the payload column alone, in the leanest rows that the driver has. */
  readonly payloads: Driver["replay"]
  readonly insert: (stream: StreamId.StreamId, version: number, event: AccountEvent) => void | Promise<void>
  /** All events by one statement. */
  readonly insertAll: (
    stream: StreamId.StreamId,
    version: number,
    events: ReadonlyArray<AccountEvent>
  ) => void | Promise<void>
  /** Events of many streams, with times of their own, by one statement. */
  readonly insertMany: (events: ReadonlyArray<HistoricEvent>) => void | Promise<void>
  /** So many writers at once, each on a stream of its own, each with so many inserts of one event. */
  readonly writeAtOnce: (
    streams: ReadonlyArray<StreamId.StreamId>,
    version: number,
    times: number,
    event: AccountEvent
  ) => Promise<void>
}

/** An effect as the work of a contender: run after run in one fiber. */
export const work = <R>(
  runtime: ManagedRuntime.ManagedRuntime<R, unknown>,
  effect: Effect.Effect<unknown, unknown, R>
): Work =>
(times) => runtime.runPromise(times === 1 ? Effect.asVoid(effect) : Effect.asVoid(Effect.repeatN(effect, times - 1)))
