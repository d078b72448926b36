// Tries parked events again.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { CheckpointStore } from "../../CheckpointStore.js"
import { EventStore, type EventStoreError } from "../../EventStore.js"
import * as Position from "../../Position.js"
import type { Item, Reading } from "./definition.js"
import * as Failures from "./failures.js"
import type { Key, ParkedEvent } from "./model.js"
import type { CheckpointStoreError } from "./storeErrors.js"

/**
 * The outcome of trying parked events again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retried {
  /** The number of events that were handled, and are no longer parked. */
  readonly handled: number
  /** The events that failed again. Later events of their streams were not tried. */
  readonly failed: ReadonlyArray<{ readonly position: Position.Position; readonly reason: string }>
}

/** Handles one event and removes it from the parked ones. `None` if it is not parked any more. */
export interface HandleParked<in E, out R> {
  (
    checkpoints: CheckpointStore["Type"],
    key: Key,
    position: Position.Position,
    event: E
  ): Effect.Effect<Option.Option<unknown>, unknown, R>
}

export const retry = <E, R>(
  key: Key,
  reading: Reading<E>,
  handle: HandleParked<E, R>
): Effect.Effect<Retried, CheckpointStoreError | EventStoreError, CheckpointStore | EventStore | R> =>
  Effect.gen(function*() {
    const checkpoints = yield* CheckpointStore
    const events = yield* EventStore
    const failed: Array<Retried["failed"][number]> = []
    const blocked = new Set<string>()
    let handled = 0
    let after = Position.start
    while (true) {
      const page = yield* checkpoints.parked(key, { after, limit: 100 })
      if (page.length === 0) return { handled, failed }
      for (const parked of page) {
        after = parked.position
        if (blocked.has(parked.stream)) continue
        const outcome = yield* one(parked)
        if (outcome === undefined) continue
        if (outcome === "handled") handled += 1
        else {
          blocked.add(parked.stream)
          failed.push({ position: parked.position, reason: outcome.reason })
        }
      }
    }

    function one(parked: ParkedEvent) {
      return Effect.gen(function*() {
        const item = yield* itemOf(events, reading, parked)
        if (Option.isNone(item)) return { reason: "the event is not in the feed, or not for this definition any more" }
        const { event } = item.value
        if (Either.isLeft(event)) return { reason: event.left.message }
        const exit = yield* Effect.exit(handle(checkpoints, key, parked.position, event.right))
        if (exit._tag === "Failure") return { reason: Failures.reasonOf(exit.cause, reading.personal) }
        return Option.isSome(exit.value) ? "handled" as const : undefined
      })
    }
  })

/** Reads a parked event again, from its stream. */
const itemOf = <E>(
  events: EventStore["Type"],
  reading: Reading<E>,
  { eventId, position }: ParkedEvent
): Effect.Effect<Option.Option<Item<E>>, EventStoreError> =>
  Effect.gen(function*() {
    const [found] = yield* events.find([eventId])
    if (found === undefined || found.position !== position) return Option.none()
    const { stream, version } = found
    const read = events.readEvents(stream, { fromVersion: version, toVersion: version, limit: 1 })
    const [recorded] = yield* Effect.catchTag(read, "EventDecodeError", () => Effect.succeed([]))
    return Option.flatMap(Option.fromNullable(recorded), reading.item)
  })
