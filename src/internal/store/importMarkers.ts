// Checks that the events which imported markers name are as they are after their rewrite.
// Mechanism: a rewritten event has the id of its marker in its metadata. An event that was imported or exported before
// its rewrite does not have it, and its marker would tell of a change that is not there.
// Costs one statement for each marker whose event is not in the same batch.
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Markers from "../markers.js"
import * as Json from "../schema/json.js"
import type * as Deletion from "./deletion.js"
import { EventStoreError } from "./eventErrors.js"
import type { Numbered } from "./importEvents.js"

/** Fails if an event is a `$rewritten` whose event is still as it was before. */
export const check = (
  driver: Pick<Deletion.Driver, "read">,
  events: ReadonlyArray<Numbered>
): Effect.Effect<void, EventStoreError> => {
  const markers = events.filter(({ type }) => type === Markers.rewritten)
  if (markers.length === 0) return Effect.void
  const own = new Map(events.map(({ key, metadata, version }) => [placeOf(key, version), metadata]))
  return Effect.forEach(markers, (marker) => {
    const version = rewrittenVersion(marker)
    const known = own.get(placeOf(marker.key, version))
    const metadata = known === undefined ? stored(driver, marker, version) : Effect.succeed(known)
    return Effect.filterOrFail(
      metadata,
      // the insert refuses a marker that has no event before it
      (metadata) => metadata === undefined || hasEntry(metadata, marker.id),
      () => outdated(marker, version)
    )
  }, { discard: true })
}

const placeOf = (key: string, version: number): string => `${version} ${key}`

const rewrittenVersion = ({ payload }: Numbered): number => Markers.versionIn(JSON.parse(payload)) ?? 0

const stored = (
  { read }: Pick<Deletion.Driver, "read">,
  { stream }: Numbered,
  version: number
): Effect.Effect<string | undefined, EventStoreError> =>
  Effect.map(
    read({ stream, fromVersion: version, toVersion: version, limit: 1, reverse: false }),
    ([event]) => event?.metadata
  )

const hasEntry = (metadata: string, markerId: string): boolean => {
  const parsed = Json.parse(metadata)
  return Either.isRight(parsed) && Markers.isRewrittenBy(parsed.right, markerId)
}

const outdated = ({ stream, version }: Numbered, of: number): EventStoreError =>
  new EventStoreError({
    operation: "import",
    stream,
    reason: "InvalidInput",
    mayHaveAppended: false,
    detail: `version ${version} says that version ${of} was rewritten, which was exported or imported before that: ` +
      "export the stream again, and import it into a store that does not have it yet"
  })
