// Reads the events of an import, and numbers them within their streams. An event without a version follows the event
// before it in its stream, and the first event is version 1. An event without an id gets a derived id, from its content
// and from all events before it in the import of its stream. A repeated import gives the event the same id. A corrected
// history gives other ids from its first correction on.
// Costs one walk over each payload, and one hash of it. Why: docs/decisions/0092-ids-of-imported-events.md.
import * as Either from "effect/Either"
import type * as Event from "../../Event.js"
import type * as StreamId from "../../StreamId.js"
import { maxVersion } from "../constants.js"
import * as Markers from "../markers.js"
import { isRecord } from "../options.js"
import * as DerivedId from "../schema/derivedId.js"
import { streamKey } from "../streamKey.js"
import { streamProblem } from "../streamProblem.js"
import { quote } from "../text.js"
import * as Input from "./eventInput.js"
import type { EncodedImport, ImportedEvent } from "./importModel.js"

/** An event before it is numbered. It has a version or an id only if the source gave one. */
export interface Item {
  /** Its number in the import, from 1 on. */
  readonly number: number
  readonly stream: StreamId.StreamId
  readonly key: string
  readonly version: number | undefined
  readonly id: string | undefined
  readonly event: Event.EncodedEvent
}

/** Reads an event. `Left` is a problem. */
export const read = (
  number: number,
  event: ImportedEvent,
  markers: "refuse" | "keep" = "refuse"
): Either.Either<Item, string> => {
  if (!isRecord(event)) return Either.left("it is not an object")
  // each field is read once, because an accessor may return another value the next time
  const { id, metadata, payload, time, type, version } = event
  const stream = Input.streamOf(event.stream)
  const problem = streamProblem(stream)
  if (problem !== undefined) return Either.left(`its stream: ${problem}`)
  if (version !== undefined && !(Number.isInteger(version) && version >= 1 && version <= maxVersion)) {
    return Either.left(`its version is ${quote(version)}; it must be a whole number from 1 to ${maxVersion}`)
  }
  const isMarker = Markers.isMarker(type)
  if (isMarker && markers === "refuse") {
    return Either.left(
      `its type ${Markers.typeProblem(type)}: the option markers: "keep" imports them from another store`
    )
  }
  const proposed = { id: id === undefined ? "derived" : id, type, payload, metadata, time }
  return Either.flatMap(
    Input.encodeAny(proposed),
    (encoded) => {
      // the text is looked at, because an accessor may return another value the next time
      const wrong = isMarker
        ? Markers.importProblem({ id, type, version, payload: JSON.parse(encoded.payload) })
        : undefined
      if (wrong !== undefined) return Either.left(wrong)
      if (encoded.payload.length + encoded.metadata.length > Input.maxAppendLength) {
        return Either.left(
          `it is longer than ${Input.maxAppendLength} characters of JSON, more than a statement can take`
        )
      }
      return Either.right({
        number,
        stream,
        key: streamKey(stream),
        version,
        id: id === undefined ? undefined : encoded.id,
        event: encoded
      })
    }
  )
}

/** The length of an event in a statement, in characters. */
export const lengthOf = ({ event: { metadata, payload }, stream }: Item): number =>
  payload.length + metadata.length + stream.aggregate.length + stream.id.length + 200

/** An event with its version and its id. */
export interface Numbered extends EncodedImport {
  readonly key: string
}

/** The last event of a stream, which the next event follows. */
export interface Reached {
  /** 0 before the first event. */
  readonly version: number
  /**
   * The text from which the id of the next event is derived. It depends on this event, its content, and the events
   * before it.
   */
  readonly link: string
  /** Whether this event is the end of its stream. */
  readonly isEnd?: boolean
}

export const beginning: Reached = { version: 0, link: "" }

export interface Numbering {
  readonly events: ReadonlyArray<Numbered>
  /** The last event of each stream of the batch. */
  readonly reached: ReadonlyMap<string, Reached>
  /**
   * The first events of streams whose first version is assumed to be 1, because these events have an id and no version.
   */
  readonly assumed: ReadonlyMap<string, Numbered>
  /** Whether a later event brings a version that does not fit an assumed one. */
  readonly isMistaken: boolean
}

/** A version of a stream, and the key of the stream. */
export interface Place {
  readonly key: string
  readonly stream: StreamId.StreamId
  readonly version: number
}

/** Returns the places before the first events of streams that are new to the import and begin after version 1. */
export const placesBefore = (
  items: ReadonlyArray<Item>,
  reached: ReadonlyMap<string, unknown>
): ReadonlyArray<Place> => {
  const met = new Set<string>()
  const places: Array<Place> = []
  for (const { event, key, stream, version = 1 } of items) {
    if (met.has(key) || reached.has(key)) continue
    met.add(key)
    // the events before the end of a stream may have been removed
    if (version > 1 && event.type !== Markers.deleted) places.push({ key, stream, version: version - 1 })
  }
  return places
}

/**
 * Numbers the events of a batch. `reached` has the last event of each stream that the import has stored. `before` has
 * the event before the first one, for streams that are new to the import and do not begin at version 1. `Left` is a
 * problem.
 */
export const number = (
  items: ReadonlyArray<Item>,
  reached: ReadonlyMap<string, Reached>,
  before: ReadonlyMap<string, Reached>
): Either.Either<Numbering, string> => {
  const events: Array<Numbered> = []
  const own = new Map<string, Reached>()
  const assumed = new Map<string, Numbered>()
  let isMistaken = false
  for (const item of items) {
    const { event, id, key, number, stream, version: given } = item
    const known = own.get(key) ?? reached.get(key) ?? before.get(key)
    const isEnd = event.type === Markers.deleted
    const last = known ?? (isEnd && given !== undefined ? { version: given - 1, link: "" } : beginning)
    if (last.isEnd === true) {
      return Either.left(`event ${number} of the import: its stream ended with the ${Markers.deleted} before it`)
    }
    const version = last.version + 1
    if (given !== undefined && given !== version) {
      if (!assumed.has(key)) {
        return Either.left(
          `event ${number} of the import: its version is ${given}, and the next one of its stream is ${version}`
        )
      }
      isMistaken = true
    }
    if (version > maxVersion) {
      return Either.left(`event ${number} of the import: a stream has at most ${maxVersion} events`)
    }
    const link = linkOf(item, version, last.link)
    const numbered: Numbered = {
      id: id ?? link,
      type: event.type,
      payload: event.payload,
      metadata: event.metadata,
      time: event.time,
      stream,
      version,
      key
    }
    if (known === undefined && given === undefined && id !== undefined) assumed.set(key, numbered)
    own.set(key, isEnd ? { version, link, isEnd } : { version, link })
    events.push(numbered)
  }
  return Either.right({ events, reached: own, assumed, isMistaken })
}

/** Derives the id of an event. The content of an event with its own id is a part of the link too. */
const linkOf = ({ event, id, stream }: Item, version: number, before: string): string => {
  const { metadata, payload, time, type } = event
  return DerivedId.of(
    [
      "import",
      before,
      stream.aggregate,
      stream.id,
      String(version),
      type,
      payload,
      metadata,
      time === undefined ? "" : String(time),
      ...(id === undefined ? [] : [id])
    ],
    time !== undefined && time >= 0 && time < 2 ** 48 ? time.toString(16).padStart(12, "0") : undefined
  )
}
