// Loads the state of an aggregate as it was at a version or at a time.
// Mechanism: a time is turned into the version of the last event that is not later. The state is folded up to the version,
// from a snapshot if one stands at it or below.
// Cost: that of a load, and one more page if the store omits the ids within a page. A time reads the events after it too, newest first.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Baseline } from "./baseline.js"
import { type HistoryError, type LoadError, VersionNotReached } from "./errors.js"
import type { Services } from "./services.js"

export const loadAt = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  point: number | DateTime.DateTime
): Effect.Effect<Baseline<State>, LoadError | VersionNotReached> => {
  const { loader, loads } = services
  const atVersion = (version: number) => loader.loadTo(id, version, { onRefused: loads.refused })
  if (DateTime.isDateTime(point)) return Effect.flatMap(versionAt(services, id, point), atVersion)
  return Effect.filterOrElse(
    atVersion(point),
    ({ version }) => version === point,
    ({ stream, version }) => new VersionNotReached({ stream, version: point, head: version })
  )
}

const versionAt = <Id, State, Event>(
  { events, loadable }: Services<Id, State, Event>,
  id: Id,
  time: DateTime.DateTime
): Effect.Effect<number, HistoryError> =>
  Effect.flatMap(loadable.streamOf(id), (stream) =>
    events.read(stream, { reverse: true }).pipe(
      Stream.dropWhile((event) => event.time.epochMillis > time.epochMillis),
      Stream.runHead,
      Effect.map(Option.match({ onNone: () => 0, onSome: ({ version }) => version }))
    ))
