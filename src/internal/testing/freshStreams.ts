// The parts of the cases for streams that end: streams of their own, on all stores.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Aggregate from "../../Aggregate.js"
import type * as EventStore from "../../EventStore.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import * as Streams from "../../Streams.js"
import { type Body, type Case, type Fresh, withFresh } from "./fresh.js"

/** The stores, and the service on them. */
export type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | Streams.Streams

export interface FreshStreams extends Fresh {
  readonly streams: Streams.Streams["Type"]
  readonly snapshots: SnapshotStore.SnapshotStore["Type"]
  readonly end: (
    id: string,
    events?: Streams.DeleteOptions["events"],
    options?: Omit<Streams.DeleteOptions, "events">
  ) => Effect.Effect<Streams.DeletedStream, Streams.DeleteError>
  readonly saveSnapshot: (id: string, version: number, eventId: string) => Effect.Effect<void, unknown>
  readonly hasSnapshot: (id: string) => Effect.Effect<boolean, unknown>
}

const Happened = Schema.TaggedStruct("Happened", { n: Schema.Int })

/** An aggregate of a test's streams. Its events are those of `eventsOf`, with a tag. Its state is the sum of their numbers. */
export const sumOf = ({ aggregate }: StreamId.StreamId) =>
  Aggregate.make({
    name: aggregate,
    id: Schema.String,
    state: Schema.Int,
    event: Happened,
    command: Schema.Int,
    initial: () => 0,
    evolve: (state, { n }) => state + n,
    decide: () => Either.right([])
  })

export const withStreams = (name: string, body: (fresh: FreshStreams) => Body<never>): Case<Services> => ({
  name,
  run: Effect.flatMap(
    Effect.all({ streams: Streams.Streams, snapshots: SnapshotStore.SnapshotStore }),
    ({ snapshots, streams }) =>
      withFresh(name, (fresh) =>
        body({
          ...fresh,
          streams,
          snapshots,
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
