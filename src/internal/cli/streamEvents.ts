// The events of a stream for people who look for a fault: those that do not decode are among them.
// Mechanism: a read ends at an event that does not decode. The events before it are read without it, and then those after
// it, in pages that begin with one event, because others that do not decode may follow it.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Event from "../../Event.js"
import { type EventDecodeError, EventStore, type EventStoreError } from "../../EventStore.js"
import * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import type { Stored } from "./eventRow.js"

export interface Range {
  readonly fromVersion?: number | undefined
  readonly toVersion?: number | undefined
  readonly reverse?: boolean | undefined
  readonly limit: number
}

export const read = (
  stream: StreamId.StreamId,
  range: Range
): Effect.Effect<ReadonlyArray<Stored>, EventStoreError, EventStore> =>
  Effect.gen(function*() {
    const { readEvents } = yield* EventStore
    const found: Array<Stored> = []
    const page = (left: Range, size: number): Effect.Effect<void, EventStoreError> =>
      Effect.gen(function*() {
        const read = yield* readEvents(stream, { ...left, limit: size }).pipe(
          Effect.map(Either.right),
          Effect.catchTag("EventDecodeError", (error) => Effect.succeed(Either.left(error)))
        )
        if (Either.isRight(read)) {
          for (const event of read.right) found.push(event)
          const last = read.right.at(-1)
          const limit = left.limit - read.right.length
          if (last === undefined || read.right.length < size || limit === 0) return
          return yield* page({ ...beyond(left, last.version), limit }, Math.min(limit, size * 2))
        }
        const { left: error } = read
        if (size > 1) {
          // all of them decode
          const before = yield* Effect.catchTag(
            readEvents(stream, { ...until(left, error.version), limit: size }),
            "EventDecodeError",
            () => Effect.succeed([])
          )
          for (const event of before) found.push(event)
        }
        found.push(unreadable(error))
        const limit = range.limit - found.length
        if (limit > 0) yield* page({ ...beyond(left, error.version), limit }, 1)
      })
    yield* page(range, range.limit)
    return found
  })

const beyond = (range: Range, version: number): Range =>
  range.reverse === true ? { ...range, toVersion: version - 1 } : { ...range, fromVersion: version + 1 }

const until = (range: Range, version: number): Range =>
  range.reverse === true ? { ...range, fromVersion: version + 1 } : { ...range, toVersion: version - 1 }

const unreadable = (error: EventDecodeError): Event.UnreadableEvent =>
  new Event.UnreadableEvent({
    id: error.eventId ?? "",
    stream: error.stream,
    version: error.version,
    position: error.position ?? Position.start,
    type: error.type,
    time: Option.none(),
    error
  })
