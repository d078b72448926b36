import type * as Option from "effect/Option"
import type * as Snapshot from "../../Snapshot.js"
import type * as StreamId from "../../StreamId.js"
import type { Folded } from "./loadable.js"

/** A state with its version, and where it came from. */
export interface Baseline<out State> extends Folded<State>, Origin {}

/** Where a state came from. */
export interface Origin {
  readonly stream: StreamId.StreamId
  /** The version of the snapshot that was used, 0 for none. */
  readonly snapshotVersion: number
  /** The stored snapshot that was used, also where the cache stands between it and this load. */
  readonly used: Option.Option<Used>
  readonly outcome: Snapshot.SnapshotOutcome
  /** The duration of the load in milliseconds. */
  readonly took: number
  /** The snapshot of the aggregate's own schema version that this load refuted. It is deleted before the next save. */
  readonly refuted: Option.Option<Pick<Used, "version" | "eventId" | "time">>
  /** Whether the state came from the cache and a snapshot below it, which may have been refuted since. */
  readonly cached: boolean
}

export interface Used {
  readonly version: number
  readonly eventId: string
  readonly schemaVersion: number
  /** Milliseconds since 1970. */
  readonly time: number
}

/** Tells whether a stored snapshot is the one that was used. One that was refuted may have been replaced by a right one. */
export const isUsed = (
  { eventId, schemaVersion, time, version }: Used,
  stored: Pick<Snapshot.EncodedSnapshot, keyof Used>
): boolean =>
  stored.version === version && stored.eventId === eventId && stored.schemaVersion === schemaVersion &&
  stored.time === time

/** Copies field by field: to spread two objects of that size costs more than half a statement on SQLite. */
export const baselineOf = <State>(folded: Folded<State>, origin: Origin): Baseline<State> => ({
  state: folded.state,
  version: folded.version,
  eventId: folded.eventId,
  time: folded.time,
  replayed: folded.replayed,
  stream: origin.stream,
  snapshotVersion: origin.snapshotVersion,
  used: origin.used,
  outcome: origin.outcome,
  took: origin.took,
  refuted: origin.refuted,
  cached: origin.cached
})
