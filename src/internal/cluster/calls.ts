// Calls the entities of an aggregate.
// Mechanism: the client encodes the commands, gives them an id, and sends them until they are answered.
// Cost: a message to the runner and back.
import type * as RpcClient from "@effect/rpc/RpcClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import type * as Repository from "../../Repository.js"
import * as StreamId from "../../StreamId.js"
import { IdEncodeError } from "../repository/errors.js"
import type { Executed, Loaded } from "../repository/model.js"
import * as Options from "../repository/options.js"
import { unsure } from "../repository/unsure.js"
import { streamProblem } from "../streamProblem.js"
import { CommandTimeout, LoadTimeout, type UnreadableAnswer } from "./errors.js"
import * as Late from "./late.js"
import type { Messages } from "./messages.js"
import { entityIdOf, type Rpcs } from "./protocol.js"
import * as Sending from "./sending.js"
import * as Wire from "./wire.js"

export interface Calls<in out Id, out State, out Event, in Command, out Rejection> {
  readonly executeAll: (
    id: Id,
    commands: ReadonlyArray<Command>,
    options?: Options.ExecuteOptions
  ) => Effect.Effect<
    Executed<State, Event>,
    Rejection | Repository.ExecuteError | CommandTimeout | UnreadableAnswer
  >
  readonly load: (
    id: Id
  ) => Effect.Effect<Loaded<Id, State>, Repository.LoadError | LoadTimeout | UnreadableAnswer>
}

export type Remote = (entityId: string) => RpcClient.RpcClient.From<Rpcs, Exclude<Sending.Transient, Late.Late>>

export const make = <Id, State, Event, Command, Rejection>(
  codecs: Wire.Codecs<Id, State, Event, Command, Rejection>,
  remote: Remote,
  settings: Sending.Settings,
  { messages, persisted }: { readonly persisted: boolean; readonly messages: Messages | undefined }
): Calls<Id, State, Event, Command, Rejection> => {
  // what is stored is not lost: to send it again would only store it again
  const ofCommands = persisted ? { ...settings, attempt: Duration.infinity } : settings
  return {
    executeAll: (id, commands, options) =>
      Effect.gen(function*() {
        const stream = yield* streamOf(codecs, id, "append")
        const own = Options.ofCommand(codecs.name, options)
        if (Either.isLeft(own)) {
          return yield* typeof own.left === "string" ? Wire.invalidInput(stream, own.left) : own.left
        }
        const ambient = Options.ambientMetadata(yield* Event.CurrentMetadata)
        if (Either.isLeft(ambient)) return yield* Wire.invalidInput(stream, ambient.left)
        const commandId = own.right.commandId ?? (yield* yield* Event.IdGenerator)
        const clear = yield* Wire.encodeCommands(codecs, stream, commands, { ...own.right, commandId }, ambient.right)
        const request = messages === undefined ? clear : yield* messages.seal(clear)
        const answer = yield* Sending.send(
          (before) => Late.decode(remote(entityIdOf(stream.id)).execute({ request, before })),
          ofCommands,
          (unanswered) => new CommandTimeout({ stream, commandId, ...unanswered })
        )
        const opened = messages === undefined ? answer : yield* Effect.mapError(messages.open(answer), ofAnyTry)
        return yield* yield* Either.mapLeft(Wire.decodeExecuted(codecs, stream, opened), ofAnyTry)
      }),
    load: (id) =>
      Effect.flatMap(streamOf(codecs, id, "read"), (stream) =>
        Effect.flatMap(
          Sending.send(
            () => remote(entityIdOf(stream.id)).load({ id: stream.id }),
            settings,
            (unanswered) => new LoadTimeout({ stream, ...unanswered })
          ),
          (text) => Wire.decodeLoaded(codecs.state, stream, id, text)
        ))
  }
}

/**
 * The cluster delivers a request again if its runner dies, and this try knows nothing about an earlier one, which may
 * have appended the events. Only an invalid request is the same each time.
 */
const ofAnyTry = <E>(error: E): E | EventStore.EventStoreError =>
  error instanceof EventStore.EventStoreError && error.reason !== "InvalidInput" ? unsure(error) : error

const streamOf = <Id>(
  { id: codec, name }: Pick<Wire.Codecs<Id, never, never, never, never>, "id" | "name">,
  id: Id,
  operation: "append" | "read"
): Effect.Effect<StreamId.StreamId, IdEncodeError | EventStore.EventStoreError> => {
  const encoded = codec.encode(id)
  if (Either.isLeft(encoded)) return new IdEncodeError({ aggregate: name, cause: encoded.left })
  const stream = StreamId.make(name, encoded.right)
  // on the way to a runner, two different ids that no store accepts could become one
  const detail = streamProblem(stream)
  return detail === undefined
    ? Effect.succeed(stream)
    : new EventStore.EventStoreError({ operation, reason: "InvalidInput", mayHaveAppended: false, detail })
}
