// The parts of the cases for streams that end: streams of their own, on all stores.
import * as Effect from "effect/Effect"
import type * as EventStore from "../../EventStore.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import * as Streams from "../../Streams.js"
import { type Body, type Case, type Fresh, withFresh } from "./fresh.js"

/** The stores, and the service on them. */
export type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | Streams.Streams

export interface FreshStreams extends Fresh {
  readonly streams: Streams.Streams["Type"]
  readonly end: (
    id: string,
    events?: Streams.DeleteOptions["events"],
    options?: Omit<Streams.DeleteOptions, "events">
  ) => Effect.Effect<Streams.DeletedStream, Streams.DeleteError>
  readonly saveSnapshot: (id: string, version: number, eventId: string) => Effect.Effect<void, unknown>
  readonly hasSnapshot: (id: string) => Effect.Effect<boolean, unknown>
}

export const withStreams = (name: string, body: (fresh: FreshStreams) => Body<never>): Case<Services> => ({
  name,
  run: Effect.flatMap(
    Effect.all({ streams: Streams.Streams, snapshots: SnapshotStore.SnapshotStore }),
    ({ snapshots, streams }) =>
      withFresh(name, (fresh) =>
        body({
          ...fresh,
          streams,
          end: (id, events = "keep", options = {}) => streams.delete(fresh.stream(id), { events, ...options }),
          saveSnapshot: (id, version, eventId) =>
            snapshots.save({
              stream: fresh.stream(id),
              version,
              eventId,
              schemaVersion: 1,
              fingerprint: "f",
              state: "{}",
              time: 1
            }),
          hasSnapshot: (id) => snapshots.exists(fresh.stream(id))
        })).run
  )
})
