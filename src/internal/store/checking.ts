// Checks the version of a stream for an append of no events.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as StreamId from "../../StreamId.js"
import * as Markers from "../markers.js"
import * as Deletion from "./deletion.js"
import { type EventStoreError, StreamDeleted, VersionConflict } from "./eventErrors.js"

/** The result of an append that appended nothing. */
interface Unchanged {
  readonly version: number
  readonly position: Option.Option<never>
  readonly time: Option.Option<never>
  readonly duplicate: false
}

export const version = (
  driver: Deletion.Driver,
  stream: StreamId.StreamId,
  expected: ExpectedVersion.ExpectedVersion
): Effect.Effect<Unchanged, VersionConflict | StreamDeleted | EventStoreError> => {
  const { max, min } = ExpectedVersion.bounds(expected)
  return Effect.flatMap(
    Deletion.last(driver, stream),
    (last): Effect.Effect<Unchanged, VersionConflict | StreamDeleted> => {
      const version = last?.version ?? 0
      if (last?.type === Markers.deleted) return new StreamDeleted({ stream })
      return version < min || version > max
        ? new VersionConflict({ stream, expected, actual: version })
        : Effect.succeed({ version, position: Option.none(), time: Option.none(), duplicate: false })
    }
  )
}
