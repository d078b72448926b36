// Loads the state of an aggregate as it was at a version or at a time.
// Mechanism: a time is turned into the version of the last event that is not later. The state is folded up to the
// version, from a snapshot if there is one of that version or an older one. If the stream then has another event at the
// version, the history was rewritten, and the load begins again.
// Cost: that of a load, and one more page if the store omits the ids within a page. For a time, the load also reads the
// events after it, newest first.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Event from "../../Event.js"
import type { Baseline } from "./baseline.js"
import { type HistoryError, HistoryRewritten, type LoadError, orGap, VersionNotReached } from "./errors.js"
import type { Services } from "./services.js"

export const loadAt = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  point: number | DateTime.DateTime
): Effect.Effect<Baseline<State>, LoadError | VersionNotReached> => {
  const { loader, loads } = services
  const atVersion = (version: number) => loader.loadTo(id, version, { onRefused: loads.refused })
  if (DateTime.isDateTime(point)) {
    const atTime = Effect.flatMap(lastAt(services, id, point), (last) =>
      Effect.filterOrFail(
        atVersion(Option.match(last, { onNone: () => 0, onSome: ({ version }) => version })),
        (baseline) => Option.isNone(last) || endsWith(baseline, last.value),
        ({ stream }) => new HistoryRewritten({ stream })
      ))
    return Effect.retry(atTime, { while: ({ _tag }) => _tag === "HistoryRewritten", times: 10 })
  }
  return Effect.filterOrElse(
    atVersion(point),
    ({ version }) => version === point,
    ({ stream, version }) => new VersionNotReached({ stream, version: point, head: version })
  )
}

const lastAt = <Id, State, E>(
  { events, loadable }: Services<Id, State, E>,
  id: Id,
  time: DateTime.DateTime
): Effect.Effect<Option.Option<Event.RecordedEvent>, HistoryError> =>
  Effect.flatMap(loadable.streamOf(id), (stream) =>
    events.read(stream, { reverse: true }).pipe(
      Stream.dropWhile((event) => event.time.epochMillis > time.epochMillis),
      Stream.runHead,
      Effect.mapError(orGap)
    ))

// a store may give no ids, or no times
const endsWith = ({ eventId, time, version }: Baseline<unknown>, last: Event.RecordedEvent): boolean =>
  version === last.version && (eventId === null || eventId === last.id) &&
  (time === null || time === last.time.epochMillis)
