import type { SqlClient } from "@effect/sql"
import { Effect, type ManagedRuntime } from "effect"
import type { EventStore, SnapshotStore, SqlEventStore, StreamId } from "effect-eventsourcing"
import { type AccountEvent, type AccountState, decide, deposit, evolve } from "./fixtures.js"
import type { Work } from "./measure.js"

export type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | SqlClient.SqlClient

/** A database with the library on it, and the driver beside it. */
export interface Backend {
  readonly name: "SQLite" | "SQLite, FULL" | `PostgreSQL${"" | ", prepared"}${"" | ", fsync"}`
  /** The file, or the URL. */
  readonly database: string
  readonly runtime: ManagedRuntime.ManagedRuntime<Services, unknown>
  /** Other stores on the same tables, with connections of their own. */
  readonly stores: (options: SqlEventStore.Options) => ManagedRuntime.ManagedRuntime<Services, unknown>
  readonly driver: Driver
  readonly version: () => Promise<string>
  /** What the server does by itself after a while: counts the rows that were seeded. */
  readonly settle: () => Promise<void>
  /** How many statements reach the database while the effect runs. */
  readonly countStatements: (effect: Effect.Effect<unknown, unknown, Services>) => Promise<number>
  /** Milliseconds from sending each statement to its result, of all statements that are sent while the work runs. */
  readonly timeStatements?: ((work: () => Promise<unknown>) => Promise<ReadonlyArray<number>>) | undefined
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
  /** Workers on so many connections of their own. */
  readonly workers: (connections: number) => Workers
}

/** The driver in the hands of several workers at once. */
export interface Workers {
  /** A worker for each stream, each with so many inserts of one event in turn. */
  readonly insert: (
    streams: ReadonlyArray<StreamId.StreamId>,
    version: number,
    times: number,
    event: AccountEvent
  ) => Promise<void>
  /**
   * A worker for each list of streams, each with a command on one after the other: selects the snapshot, parses it,
   * decides, reduces, and inserts the event at the next version.
   */
  readonly command: (streams: ReadonlyArray<ReadonlyArray<StreamId.StreamId>>) => Promise<void>
  readonly close: () => Promise<void>
}

/** What a floor does between its select and its insert: the events of a command, and the state after them. */
export const decideOn = (state: AccountState): readonly [events: ReadonlyArray<AccountEvent>, state: AccountState] => {
  const events = decide(state, deposit)
  return [events, events.reduce(evolve, state)]
}

export const existing = <Row>(row: Row | undefined): Row => {
  if (row === undefined) throw new Error("a row is missing")
  return row
}

/** An effect as the work of a contender: run after run in one fiber. */
export const work = <R>(
  runtime: ManagedRuntime.ManagedRuntime<R, unknown>,
  effect: Effect.Effect<unknown, unknown, R>
): Work =>
(times) => runtime.runPromise(times === 1 ? Effect.asVoid(effect) : Effect.asVoid(Effect.repeatN(effect, times - 1)))
