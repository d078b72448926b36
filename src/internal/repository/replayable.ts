import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import { isEmptied } from "../emptied.js"

/** Tells whether a stream can be replayed. If its beginning was removed, a snapshot is the only source of its state. */
export const isReplayable = (
  { replay: { life } }: Pick<EventStore.EventStore["Type"], "replay">,
  stream: StreamId.StreamId
): Effect.Effect<boolean, EventStore.EventStoreError> =>
  Option.match(life, {
    onNone: () => Effect.succeed(true),
    onSome: ({ at }) => Effect.map(at(stream, 1), (first) => !Option.exists(first, isEmptied))
  })
