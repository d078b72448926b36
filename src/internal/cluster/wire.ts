// Encodes commands and answers as text, and decodes them.
// Mechanism: both sides of a call are one JSON text, so that each side decodes it itself. A command that a runner's
// version does not know, or an answer that a client's version does not know, is then a typed error and no defect of the
// transport.
// Cost: JSON of the commands, the state and the events of each call.
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Aggregate from "../../Aggregate.js"
import type * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import * as Errors from "../repository/errors.js"
import type { Executed, Loaded, Written } from "../repository/model.js"
import type * as Options from "../repository/options.js"
import { tagOf } from "../repository/storedEvents.js"
import * as Json from "../schema/json.js"
import { byteLength } from "../text.js"
import { UnreadableAnswer } from "./errors.js"

/** The part of an aggregate that travels. */
export interface Codecs<in out Id, in out State, in out Event, in out Command, in out Rejection> {
  readonly name: string
  readonly id: Aggregate.Codec<Id, string>
  readonly state: Aggregate.Codec<State, unknown>
  readonly event: Aggregate.EventCodec<Event>
  readonly command: Pick<Aggregate.Codec<Command, unknown>, "encode" | "decode">
  /** Undefined if the aggregate has no rejection schema. */
  readonly rejection: Pick<Aggregate.Codec<Rejection, unknown>, "encode" | "decode"> | undefined
}

// --- commands ---

const Metadata = Schema.Record({ key: Schema.String, value: Schema.Unknown })

const Request = Schema.Struct({
  id: Schema.String,
  commandId: Schema.optional(Schema.String),
  commands: Schema.Array(Schema.Unknown),
  expectedVersion: Schema.optional(ExpectedVersion.ExpectedVersion),
  metadata: Schema.optional(Metadata),
  /** The metadata of the caller's fiber. */
  ambient: Metadata
})

export type Request = typeof Request.Type

/** Commands that have arrived. */
export interface Received<out Id, out Command> {
  readonly id: Id
  readonly commands: ReadonlyArray<Command>
  readonly options: Options.ExecuteOptions
  readonly ambient: Event.Metadata
}

export const encodeCommands = <Command>(
  codecs: Pick<Codecs<never, never, never, Command, never>, "command">,
  stream: StreamId.StreamId,
  commands: ReadonlyArray<Command>,
  options: Options.ExecuteOptions,
  ambient: Event.Metadata
): Either.Either<string, Errors.InvalidCommand | EventStore.EventStoreError> =>
  Either.gen(function*() {
    const { commandId, expectedVersion, metadata } = options
    const encoded: Array<unknown> = []
    for (const [index, command] of listOf(commands).entries()) {
      const invalid = (cause: unknown) =>
        new Errors.InvalidCommand({ stream, command: tagOf(command), index: index + 1, cause })
      const plain = yield* Either.mapLeft(encode(codecs.command.encode, command), invalid)
      const text = yield* Either.mapLeft(Json.stringify(plain), ({ path, reason }) =>
        invalid(new TypeError(`it does not encode to JSON: ${path} ${reason}`)))
      encoded.push(JSON.parse(text))
    }
    const request = { id: stream.id, commandId, commands: encoded, expectedVersion, metadata, ambient }
    const text = yield* Either.mapLeft(Json.stringify(request), ({ path, reason }) =>
      invalidInput(stream, `the metadata do not encode to JSON: ${path} ${reason}`))
    return isTooLong(text)
      ? yield* Either.left(invalidInput(stream, `the commands take more than ${maxBytes} bytes as a message`))
      : text
  })

/** The transport closes a connection at a message of 16 MiB. */
export const maxBytes = 15 * 1024 * 1024

// a UTF-16 unit takes at most three bytes: short texts need no count
const isTooLong = (text: string): boolean => text.length * 3 > maxBytes && byteLength(text) > maxBytes

export const decodeRequest = (text: string): Either.Either<Request, EventStore.EventStoreError> =>
  Either.mapLeft(
    Either.flatMap(Json.parse(text), Schema.decodeUnknownEither(Request)),
    (cause) => invalidInput(undefined, "this version of the program cannot read the request of another version", cause)
  )

export const decodeCommands = <Id, Command>(
  codecs: Pick<Codecs<Id, never, never, Command, never>, "command" | "id" | "name">,
  { ambient, commandId, commands, expectedVersion, id, metadata }: Request
): Either.Either<Received<Id, Command>, Errors.InvalidCommand | Errors.IdEncodeError> =>
  Either.gen(function*() {
    const stream = StreamId.make(codecs.name, id)
    const decoded = yield* Either.mapLeft(
      codecs.id.decode(id),
      (cause) => new Errors.IdEncodeError({ aggregate: codecs.name, cause })
    )
    const known = yield* Either.all(
      commands.map((command, index) =>
        Either.mapLeft(
          codecs.command.decode(command),
          (cause) => new Errors.InvalidCommand({ stream, command: tagOf(command), index: index + 1, cause })
        )
      )
    )
    return { id: decoded, commands: known, ambient, options: { commandId, expectedVersion, metadata } }
  })

/** A schema may throw, and a program without types may give any value. */
const encode = <A>(
  encoder: (value: A) => Either.Either<unknown, unknown>,
  value: A
): Either.Either<unknown, unknown> => {
  try {
    return encoder(value)
  } catch (cause) {
    return Either.left(cause)
  }
}

const listOf = <A>(values: ReadonlyArray<A>): ReadonlyArray<A> => Array.isArray(values) ? Array.from<A>(values) : []

export const invalidInput = (
  stream: StreamId.StreamId | undefined,
  detail: string,
  cause?: unknown
): EventStore.EventStoreError =>
  new EventStore.EventStoreError({
    operation: "append",
    ...(stream === undefined ? {} : { stream }),
    reason: "InvalidInput",
    mayHaveAppended: false,
    detail,
    ...(cause === undefined ? {} : { cause })
  })

// --- answers ---

/** The errors that a runner answers with. */
export type Failure = Errors.ExecuteError | UnreadableAnswer

const Failure = Schema.Union(
  EventStore.EventDecodeError,
  EventStore.EventStoreError,
  EventStore.HistoryGap,
  EventStore.InlineProjectionError,
  EventStore.StreamDeleted,
  EventStore.VersionConflict,
  Errors.EventEncodeError,
  Errors.HistoryRewritten,
  Errors.IdEncodeError,
  Errors.InvalidCommand,
  Errors.InvalidCommandId,
  Errors.ReplayTooLong,
  UnreadableAnswer
)

const WrittenEvent = Schema.Struct({
  id: Schema.String,
  version: Schema.Number,
  position: Schema.NullOr(Position.Position),
  type: Schema.String,
  time: Schema.Number,
  metadata: Metadata,
  payload: Schema.Unknown
})

const Answer = Schema.Union(
  Schema.TaggedStruct("Executed", {
    version: Schema.Number,
    state: Schema.Unknown,
    position: Schema.NullOr(Position.Position),
    duplicate: Schema.Boolean,
    recorded: Schema.Array(WrittenEvent)
  }),
  Schema.TaggedStruct("Loaded", {
    version: Schema.Number,
    state: Schema.Unknown,
    lastEventId: Schema.NullOr(Schema.String),
    lastEventTime: Schema.NullOr(Schema.Number),
    replayed: Schema.Number
  }),
  Schema.TaggedStruct("Rejected", { rejection: Schema.Unknown }),
  Schema.TaggedStruct("Failed", { error: Failure })
)

type Answer = typeof Answer.Type

const encodeAnswer = Schema.encodeEither(Answer)
const decodeAnswer = Schema.decodeUnknownEither(Answer)

const write = (stream: StreamId.StreamId, applied: boolean | undefined, answer: Answer): string => {
  const problem = (cause: unknown) =>
    JSON.stringify(Either.getOrThrow(encodeAnswer({
      _tag: "Failed",
      error: unreadable(stream, "it does not encode to a message", applied, cause)
    })))
  const encoded = encodeAnswer(answer)
  if (Either.isLeft(encoded)) return problem(encoded.left)
  const text = Json.stringify(encoded.right)
  if (Either.isLeft(text)) return problem(new TypeError(`${text.left.path} ${text.left.reason}`))
  return isTooLong(text.right) ? problem(new RangeError(`it takes more than ${maxBytes} bytes`)) : text.right
}

export const unreadable = (
  stream: StreamId.StreamId,
  detail: string,
  applied: boolean | undefined,
  cause?: unknown
): UnreadableAnswer =>
  new UnreadableAnswer({
    stream,
    detail,
    ...(applied === undefined ? {} : { applied }),
    ...(cause === undefined ? {} : { cause })
  })

export const encodeFailure = (stream: StreamId.StreamId, error: Failure): string =>
  write(stream, undefined, { _tag: "Failed", error })

export const encodeRejection = <Rejection>(
  { name, rejection: codec }: Pick<Codecs<never, never, never, never, Rejection>, "name" | "rejection">,
  stream: StreamId.StreamId,
  rejection: Rejection
): string => {
  if (codec === undefined) {
    return encodeFailure(
      stream,
      unreadable(stream, `a command was rejected, and ${name} has no rejection schema`, false)
    )
  }
  const encoded = encode(codec.encode, rejection)
  return Either.isLeft(encoded)
    ? encodeFailure(stream, unreadable(stream, "the rejection does not encode", false, encoded.left))
    : write(stream, false, { _tag: "Rejected", rejection: encoded.right })
}

export const encodeExecuted = <State, Event>(
  codecs: Pick<Codecs<never, State, Event, never, never>, "event" | "state">,
  stream: StreamId.StreamId,
  { duplicate, position, recorded, state, version }: Executed<State, Event>
): string => {
  // an earlier delivery may have stored only events that are retired since
  const applied = duplicate || recorded.length > 0
  return Either.getOrElse(
    Either.gen(function*() {
      const encoded = yield* Either.mapLeft(
        encode(codecs.state.encode, state),
        (cause) => unreadable(stream, "the state does not encode", applied, cause)
      )
      const events = yield* Either.all(
        recorded.map((written) =>
          Either.mapBoth(encode(codecs.event.encode, written.event), {
            onLeft: (cause) => unreadable(stream, `event ${written.version} does not encode`, applied, cause),
            onRight: (payload) => ({
              id: written.id,
              version: written.version,
              position: Option.getOrNull(written.position),
              type: written.type,
              time: DateTime.toEpochMillis(written.time),
              metadata: written.metadata,
              payload
            })
          })
        )
      )
      const answer = { version, state: encoded, position: Option.getOrNull(position), duplicate, recorded: events }
      return write(stream, applied, { _tag: "Executed", ...answer })
    }),
    (error) => encodeFailure(stream, error)
  )
}

export const encodeLoaded = <State>(
  codec: Aggregate.Codec<State, unknown>,
  stream: StreamId.StreamId,
  { lastEventId, lastEventTime, replayed, state, version }: Loaded<unknown, State>
): string => {
  const encoded = encode(codec.encode, state)
  return Either.isLeft(encoded)
    ? encodeFailure(stream, unreadable(stream, "the state does not encode", undefined, encoded.left))
    : write(stream, undefined, {
      _tag: "Loaded",
      version,
      state: encoded.right,
      lastEventId: Option.getOrNull(lastEventId),
      lastEventTime: Option.getOrNull(Option.map(lastEventTime, DateTime.toEpochMillis)),
      replayed
    })
}

/** Reads an answer to commands. A rejection is a value of its own, because it may be any value. */
export const decodeExecuted = <State, Event, Rejection>(
  codecs: Pick<Codecs<never, State, Event, never, Rejection>, "event" | "name" | "rejection" | "state">,
  stream: StreamId.StreamId,
  text: string
): Either.Either<Either.Either<Executed<State, Event>, Rejection>, Failure> =>
  Either.flatMap(
    read(stream, text),
    (answer): Either.Either<Either.Either<Executed<State, Event>, Rejection>, Failure> => {
      switch (answer._tag) {
        case "Failed":
          return Either.left(answer.error)
        case "Loaded":
          return Either.left(unreadable(stream, "it answers a load", undefined))
        case "Rejected":
          return codecs.rejection === undefined
            ? Either.left(unreadable(stream, `${codecs.name} has no rejection schema`, false))
            : Either.mapBoth(codecs.rejection.decode(answer.rejection), {
              onLeft: (cause) => unreadable(stream, "the rejection does not decode", false, cause),
              onRight: (rejection) => Either.left(rejection)
            })
        case "Executed":
          return Either.map(readExecuted(codecs, stream, answer), (executed) => Either.right(executed))
      }
    }
  )

const read = (stream: StreamId.StreamId, text: string): Either.Either<Answer, UnreadableAnswer> =>
  Either.mapLeft(
    Either.flatMap(Json.parse(text), decodeAnswer),
    (cause) => unreadable(stream, "this version of the program does not know its form", undefined, cause)
  )

const readExecuted = <State, Event>(
  codecs: Pick<Codecs<never, State, Event, never, never>, "event" | "state">,
  stream: StreamId.StreamId,
  { duplicate, position, recorded, state, version }: Extract<Answer, { readonly _tag: "Executed" }>
): Either.Either<Executed<State, Event>, UnreadableAnswer> =>
  Either.gen(function*() {
    const written = yield* Either.all(Arr.map(recorded, (event) => readWritten(codecs.event, stream, event)))
    return {
      state: yield* readState(codecs.state, stream, state, duplicate || recorded.length > 0),
      version,
      events: written.map(({ event }) => event),
      recorded: written,
      position: Option.fromNullable(position),
      duplicate
    }
  })

const readWritten = <Event>(
  codec: Aggregate.EventCodec<Event>,
  stream: StreamId.StreamId,
  { payload, position, time, ...written }: typeof WrittenEvent.Type
): Either.Either<Written<Event>, UnreadableAnswer> => {
  const failed = (cause: unknown) => unreadable(stream, `event ${written.version} does not decode`, true, cause)
  const decode = codec.decoder(written.type)
  if (decode === undefined) return Either.left(failed(new TypeError("its type is not known")))
  return Either.mapBoth(decode(payload), {
    onLeft: failed,
    onRight: (event) => ({
      ...written,
      _tag: "Event",
      event,
      stream,
      time: DateTime.unsafeMake(time),
      position: Option.fromNullable(position)
    })
  })
}

const readState = <State>(
  codec: Aggregate.Codec<State, unknown>,
  stream: StreamId.StreamId,
  state: unknown,
  applied: boolean | undefined
): Either.Either<State, UnreadableAnswer> =>
  Either.mapLeft(codec.decode(state), (cause) => unreadable(stream, "the state does not decode", applied, cause))

export const decodeLoaded = <Id, State>(
  codec: Aggregate.Codec<State, unknown>,
  stream: StreamId.StreamId,
  id: Id,
  text: string
): Either.Either<Loaded<Id, State>, Errors.LoadError | UnreadableAnswer> =>
  Either.flatMap(read(stream, text), (answer) => {
    if (answer._tag === "Failed") return Either.left(ofLoad(stream, answer.error))
    if (answer._tag !== "Loaded") return Either.left(unreadable(stream, "it answers a command", undefined))
    const { lastEventId, lastEventTime, replayed, version } = answer
    return Either.map(readState(codec, stream, answer.state, undefined), (state) => ({
      id,
      state,
      version,
      exists: version > 0,
      lastEventId: Option.fromNullable(lastEventId),
      lastEventTime: Option.map(Option.fromNullable(lastEventTime), (time) => DateTime.unsafeMake(time)),
      snapshotVersion: 0,
      replayed,
      snapshotOutcome: { _tag: "Disabled" }
    }))
  })

const ofLoad = (stream: StreamId.StreamId, error: Failure): Errors.LoadError | UnreadableAnswer => {
  switch (error._tag) {
    case "EventEncodeError":
    case "InlineProjectionError":
    case "InvalidCommand":
    case "InvalidCommandId":
    case "VersionConflict":
      return unreadable(stream, "a load failed with the error of a command", undefined, error)
    default:
      return error
  }
}
