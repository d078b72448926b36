// Validates and encodes the input of an event store.
// Programs without types may give anything: every field is read once and checked, and a read that throws is an
// `InvalidInput` like any other.
// Costs one walk over each payload.
import type * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Event from "../../Event.js"
import type * as ExpectedVersion from "../../ExpectedVersion.js"
import * as StreamId from "../../StreamId.js"
import * as EventTime from "../eventTime.js"
import { expectedOf } from "../expectedVersion.js"
import * as Markers from "../markers.js"
import { isRecord, unknownKey } from "../options.js"
import * as Json from "../schema/json.js"
import { marker } from "../schema/personal.js"
import { streamProblem } from "../streamProblem.js"
import { keyProblem, quote, unreadable } from "../text.js"
import { DuplicateEventId, EventStoreError } from "./eventErrors.js"

/** Reads the input of an operation, then runs it. `read` gives a problem, or the operation, or throws. */
export const whenReadable = <A, E>(
  operation: EventStoreError["operation"],
  stream: StreamId.StreamId | undefined,
  read: () => string | (() => Effect.Effect<A, E>)
): Effect.Effect<A, E | EventStoreError> => {
  const invalid = (detail: string, cause?: unknown) =>
    new EventStoreError({
      operation,
      ...(stream === undefined ? {} : { stream: shown(stream) }),
      reason: "InvalidInput",
      mayHaveAppended: false,
      detail,
      ...(cause === undefined ? {} : { cause })
    })
  let outcome: ReturnType<typeof read>
  try {
    outcome = read()
  } catch (cause) {
    return invalid(unreadable, cause)
  }
  return typeof outcome === "string" ? invalid(outcome) : outcome()
}

// the stream itself may be wrong: it must not make the error fail too
const shown = (stream: StreamId.StreamId | null): StreamId.StreamId => {
  try {
    return StreamId.make(String(stream?.aggregate), String(stream?.id))
  } catch {
    return StreamId.make("?", "?")
  }
}

/** Reads the fields of a stream once: an accessor may give something else the next time. Gives what is not a stream as it is. */
export const streamOf = (stream: StreamId.StreamId): StreamId.StreamId =>
  isRecord(stream) ? StreamId.make(stream.aggregate, stream.id) : stream

interface EncodedAppend {
  readonly events: ReadonlyArray<Event.EncodedEvent>
  readonly expected: ExpectedVersion.ExpectedVersion
}

/** Encodes the events of an append and copies the expected version, or gives a problem. */
export const encodeAppend = (
  stream: StreamId.StreamId,
  events: ReadonlyArray<Event.ProposedEvent>,
  options: { readonly expectedVersion: ExpectedVersion.ExpectedVersion }
): Either.Either<EncodedAppend, string | DuplicateEventId> => {
  const problem = streamProblem(stream) ?? appendProblem(events, options)
  if (problem !== undefined) return Either.left(problem)
  const expected = expectedOf(options.expectedVersion)
  if (Either.isLeft(expected)) return Either.left(expected.left)
  const encoded: Array<Event.EncodedEvent> = []
  let length = 0
  const ids = new Set<string>()
  for (const [index, event] of events.entries()) {
    const result = encodeEvent(event)
    if (Either.isLeft(result)) return Either.left(`event ${index + 1} of ${events.length}: ${result.left}`)
    const { id, metadata, payload } = result.right
    if (ids.has(id)) return Either.left(new DuplicateEventId({ stream, eventId: id }))
    ids.add(id)
    encoded.push(result.right)
    length += payload.length + metadata.length
    if (length > maxAppendLength) {
      return Either.left(
        `event ${index + 1} of ${events.length}: with it the append is longer than ${maxAppendLength} ` +
          "characters of JSON, more than a statement can take: append fewer at a time"
      )
    }
  }
  return Either.right({ events: encoded, expected: expected.right })
}

/** Escaped in one text, this is still below the longest string of V8, the longest value of SQLite and of PostgreSQL. */
export const maxAppendLength = 200_000_000

const appendProblem = (
  events: unknown,
  options: { readonly expectedVersion: ExpectedVersion.ExpectedVersion } | undefined
): string | undefined => {
  if (!Array.isArray(events)) return `the events are ${typeof events}, not an array`
  return options === undefined
    ? "the options of append are undefined; they must be a record with expectedVersion"
    : unknownKey("the options of append", options, ["expectedVersion"])
}

/** Encodes an event, or gives a problem. */
export const encodeEvent = (event: Event.ProposedEvent): Either.Either<Event.EncodedEvent, string> =>
  encode(event, Markers.typeProblem)

/** Encodes an event that may be a marker, or gives a problem. */
export const encodeAny = (event: Event.ProposedEvent): Either.Either<Event.EncodedEvent, string> =>
  encode(event, () => undefined)

const encode = (
  event: Event.ProposedEvent,
  typeProblemOf: (type: string) => string | undefined
): Either.Either<Event.EncodedEvent, string> => {
  if (!isRecord(event)) return Either.left("it is not an object")
  // each is read once: an accessor may give something else the next time
  const { id, type } = event
  const idProblem = keyProblem(id, Event.maxIdBytes)
  if (idProblem !== undefined) return Either.left(`its id ${idProblem}`)
  const typeProblem = keyProblem(type, Event.maxTypeBytes) ?? typeProblemOf(type)
  if (typeProblem !== undefined) return Either.left(`its type ${typeProblem}`)
  const payload = Json.stringify(event.payload)
  if (Either.isLeft(payload)) return Either.left(`its payload at ${payload.left.path} ${payload.left.reason}`)
  const metadata = Json.stringify(event.metadata ?? {})
  if (Either.isLeft(metadata)) return Either.left(`its metadata at ${metadata.left.path} ${metadata.left.reason}`)
  if (!metadata.right.startsWith("{")) return Either.left("its metadata is not an object")
  if (metadata.right.includes(markedKey)) return Either.left(unsealed)
  const time = EventTime.encode(event.time)
  return typeof time === "string"
    ? Either.left(`its time ${time}`)
    : Either.right({ id, type, payload: payload.right, metadata: metadata.right, time })
}

// in JSON without spaces only a key looks like this: the quotes of a text are escaped
const markedKey = `${JSON.stringify(marker)}:`

const unsealed =
  `its metadata has the key ${JSON.stringify(marker)}: metadata is not sealed, so keep personal data in ` +
  "the event itself"

const defaultPageSize = 1_000

/** Checks the input of `read` and fills in its defaults, or gives a problem. */
export const readInput = (
  stream: StreamId.StreamId,
  options: Range & { readonly pageSize?: number | undefined } | undefined
) => {
  const wrong = streamProblem(stream) ?? unknownKey("the options of read", options, [...rangeKeys, "pageSize"])
  if (wrong !== undefined) return wrong
  const { pageSize = defaultPageSize } = options ?? {}
  const range = rangeOf(options)
  return typeof range === "string" ? range : countProblem({ pageSize }) ?? { ...range, pageSize }
}

/** Checks the input of `readEvents` and fills in its defaults, or gives a problem. */
export const readEventsInput = (stream: StreamId.StreamId, options: Range & { readonly limit: number } | undefined) => {
  const wrong = streamProblem(stream) ?? unknownKey("the options of readEvents", options, [...rangeKeys, "limit"])
  if (wrong !== undefined) return wrong
  if (options === undefined) return "the options of readEvents are undefined; they must be a record with limit"
  const { limit } = options
  const range = rangeOf(options)
  return typeof range === "string" ? range : countProblem({ limit }) ?? { ...range, limit }
}

interface Range {
  readonly fromVersion?: number | undefined
  readonly toVersion?: number | undefined
  readonly reverse?: boolean | undefined
}

const rangeKeys = ["fromVersion", "toVersion", "reverse"] as const

const rangeOf = (options: Range = {}) => {
  const { fromVersion = 1, reverse = false, toVersion = Number.MAX_SAFE_INTEGER } = options
  if (typeof reverse !== "boolean") return `reverse is ${quote(reverse)}; it must be true or false`
  return countProblem({ fromVersion }) ??
    (Number.isSafeInteger(toVersion) && toVersion >= 0
      ? { fromVersion, reverse, toVersion }
      : `toVersion is ${quote(toVersion)}; it must be a whole number, 0 or more`)
}

/** Gives the problem of a count that is not a whole number above zero. */
export const countProblem = (counts: Readonly<Record<string, unknown>>): string | undefined => {
  for (const [name, count] of Object.entries(counts)) {
    if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) {
      return `${name} is ${quote(count)}; it must be a whole number, 1 or more`
    }
  }
  return undefined
}
