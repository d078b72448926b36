import * as Either from "effect/Either"
import * as Aggregate from "../../Aggregate.js"
import type * as Event from "../../Event.js"
import type { EventDecodeError } from "../../EventStore.js"

/** Makes the decoder of the recorded events of an aggregate. Its callers know the aggregate. */
export const decoder = <Name extends string, Id, E>(aggregate: Aggregate.Decodable<Name, Id, E>) =>
(
  recorded: Event.RecordedEvent
): Either.Either<Event.Envelope<E> | Event.Retired, EventDecodeError> =>
  Either.map(Aggregate.decodeRecorded(aggregate, recorded), (decoded) => {
    if (decoded._tag === "Retired") {
      const { aggregate: _, ...retired } = decoded
      return retired
    }
    const { aggregate: _, aggregateId: _id, ...envelope } = decoded
    return envelope
  })
