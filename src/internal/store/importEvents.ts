// Reads the events of an import, and numbers them within their streams.
// An event without a version follows the one before it in its stream, and the first one is version 1. An event without an
// id gets one that is derived from its stream and version, so that a repeated import gives it the same one.
// Costs one walk over each payload, and one hash for each event without an id.
import * as Either from "effect/Either"
import type * as Event from "../../Event.js"
import * as StreamId from "../../StreamId.js"
import { maxVersion } from "../constants.js"
import { isRecord } from "../options.js"
import * as DerivedId from "../schema/derivedId.js"
import { streamKey } from "../streamKey.js"
import { streamProblem } from "../streamProblem.js"
import { quote } from "../text.js"
import * as Input from "./eventInput.js"
import type { EncodedImport, ImportedEvent } from "./importModel.js"

/** An event that has neither its version nor its id yet, unless it brought them. */
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
export const read = (number: number, event: ImportedEvent): Either.Either<Item, string> => {
  if (!isRecord(event)) return Either.left("it is not an object")
  // each is read once: an accessor may give something else the next time
  const { id, metadata, payload, stream, time, type, version } = event
  const problem = streamProblem(stream)
  if (problem !== undefined) return Either.left(`its stream: ${problem}`)
  if (version !== undefined && !(Number.isInteger(version) && version >= 1 && version <= maxVersion)) {
    return Either.left(`its version is ${quote(version)}; it must be a whole number from 1 to ${maxVersion}`)
  }
  return Either.map(
    Input.encodeEvent({ id: id === undefined ? "derived" : id, type, payload, metadata, time }),
    (encoded) => {
      const { aggregate, id: streamId } = stream
      return {
        number,
        stream: StreamId.make(aggregate, streamId),
        key: streamKey(stream),
        version,
        id: id === undefined ? undefined : encoded.id,
        event: encoded
      }
    }
  )
}

/** The length of an event in a statement, in characters. */
export const lengthOf = ({ event: { metadata, payload }, stream }: Item): number =>
  payload.length + metadata.length + stream.aggregate.length + stream.id.length + 200

/** An event with its version and its id. */
export interface Numbered extends EncodedImport {
  readonly key: string
  /** Whether the id was derived: then an event with this id is the same only if its content is the same. */
  readonly derived: boolean
}

export interface Numbering {
  readonly events: ReadonlyArray<Numbered>
  /** The next version of each stream of the batch. */
  readonly next: ReadonlyMap<string, number>
  /** The first events of streams whose first version is assumed to be 1, as the events have an id and no version. */
  readonly assumed: ReadonlyMap<string, Numbered>
}

/**
 * Numbers the events of a batch. `next` has the next version of each stream that the import has met, and `first` the first
 * version of streams that are new to it. `Left` is a problem.
 */
export const number = (
  items: ReadonlyArray<Item>,
  next: ReadonlyMap<string, number>,
  first: ReadonlyMap<string, number>
): Either.Either<Numbering, string> => {
  const events: Array<Numbered> = []
  const reached = new Map<string, number>()
  const assumed = new Map<string, Numbered>()
  for (const { event, id, key, number, stream, version: given } of items) {
    const known = reached.get(key) ?? next.get(key) ?? first.get(key)
    const version = known ?? given ?? 1
    if (given !== undefined && given !== version) {
      return Either.left(
        `event ${number} of the import: its version is ${given}, and the next one of its stream is ${version}`
      )
    }
    if (version > maxVersion) {
      return Either.left(`event ${number} of the import: a stream has at most ${maxVersion} events`)
    }
    const numbered: Numbered = {
      id: id ?? derivedId(stream, version, event.time),
      type: event.type,
      payload: event.payload,
      metadata: event.metadata,
      time: event.time,
      stream,
      version,
      key,
      derived: id === undefined
    }
    if (known === undefined && given === undefined && id !== undefined) assumed.set(key, numbered)
    reached.set(key, version + 1)
    events.push(numbered)
  }
  return Either.right({ events, next: reached, assumed })
}

const derivedId = ({ aggregate, id }: StreamId.StreamId, version: number, time: number | undefined): string =>
  DerivedId.of(
    ["import", aggregate, id, String(version)],
    time !== undefined && time >= 0 && time < 2 ** 48 ? time.toString(16).padStart(12, "0") : undefined
  )
