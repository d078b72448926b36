// Answers the requests of one entity.
// Mechanism: the first request makes a writer of the repository, which holds the state as long as the entity lives.
// Cost: one round trip a command, and one a load.
import type { Snowflake } from "@effect/cluster/Snowflake"
import type * as Rpc from "@effect/rpc/Rpc"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Scope from "effect/Scope"
import type * as Aggregate from "../../Aggregate.js"
import * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import type * as Repository from "../../Repository.js"
import * as StreamId from "../../StreamId.js"
import { IdEncodeError } from "../repository/errors.js"
import type { Executed, Loaded } from "../repository/model.js"
import type * as Options from "../repository/options.js"
import { unsure } from "../repository/unsure.js"
import * as Answered from "./answered.js"
import * as Earlier from "./earlier.js"
import * as Late from "./late.js"
import * as Messages from "./messages.js"
import type { Execute, Load } from "./protocol.js"
import * as Wire from "./wire.js"

/** A rejection of an aggregate. In this box it cannot be mistaken for an error of the repository. */
export class Rejected<out Rejection> {
  constructor(readonly rejection: Rejection) {}
}

/**
 * Makes an aggregate whose rejections are in a {@link Rejected}. It decides nothing for a request that is late. Each
 * decision looks at the time, because a command that lost a race is decided again.
 */
export const boxed = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>
): Aggregate.Aggregate<Name, Id, State, Event, Command, Rejected<Rejection> | Late.Late> => ({
  ...aggregate,
  decide: (state, command) => {
    const late = Late.ofFiber()
    return late === undefined
      ? Either.mapLeft(aggregate.decide(state, command), (rejection) => new Rejected(rejection))
      : Either.left(late)
  }
})

/** The part of a writer that an entity needs. */
interface Writer<in out Id, out State, in out Event, in Command, out Rejection> {
  readonly executeAll: (
    commands: ReadonlyArray<Command>,
    options?: Options.ExecuteOptions
  ) => Effect.Effect<Executed<State, Event>, Rejected<Rejection> | Late.Late | Repository.ExecuteError>
  readonly load: Effect.Effect<Loaded<Id, State>, Repository.LoadError>
}

interface Handlers {
  readonly execute: (
    request: { readonly payload: Rpc.Payload<typeof Execute>; readonly requestId: Snowflake }
  ) => Effect.Effect<string>
  readonly load: (request: { readonly payload: Rpc.Payload<typeof Load> }) => Effect.Effect<string>
}

/** What is stored of earlier deliveries. */
interface Stored {
  readonly find: Earlier.Find
  /** The answers of persisted commands. Undefined if commands are not persisted. */
  readonly answers: Answered.Answers | undefined
  /** How messages are sealed, which are stored too. */
  readonly messages: Messages.Messages | undefined
}

export const make = <Id, State, Event, Command, Rejection>(
  codecs: Wire.Codecs<Id, State, Event, Command, Rejection>,
  hold: (id: Id) => Effect.Effect<Writer<Id, State, Event, Command, Rejection>, never, Scope.Scope>,
  { answers, find, messages }: Stored
): Effect.Effect<Handlers, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const writerOf = makeWriters(scope, hold)
    const execute = (text: string) =>
      Effect.suspend(() => {
        const request = Wire.decodeRequest(text)
        if (Either.isLeft(request)) {
          return Effect.succeed(Wire.encodeFailure(StreamId.make(codecs.name, ""), request.left))
        }
        const failed = (stream: StreamId.StreamId, error: Wire.Failure) =>
          Earlier.answer(find, stream, request.right.commandId, error)
        const received = Wire.decodeCommands(codecs, request.right)
        if (Either.isLeft(received)) return failed(StreamId.make(codecs.name, request.right.id), received.left)
        const { ambient, commands, id, options } = received.right
        return withStream(codecs, id, (stream) =>
          Effect.flatMap(writerOf(stream.id, id), ({ executeAll }) => executeAll(commands, options)).pipe(
            Effect.provideService(Event.CurrentMetadata, ambient),
            Effect.matchEffect({
              onFailure: (error) =>
                error instanceof Late.Late
                  ? Effect.succeed(Late.encode(error))
                  : error instanceof Rejected
                  ? Effect.succeed(Wire.encodeRejection(codecs, stream, error.rejection))
                  : failed(stream, error),
              onSuccess: (executed) =>
                Effect.succeed(Wire.encodeExecuted(codecs, stream, executed))
            })
          ))
      })
    const answer = messages === undefined ? execute : sealing(codecs.name, messages, execute)
    return {
      execute: ({ payload: { before, request }, requestId }) =>
        answers === undefined
          ? Late.within(before, answer(request))
          : Answered.orElse(answers, codecs.name, requestId, answer(request)),
      load: ({ payload }) =>
        Effect.suspend(() => {
          const id = codecs.id.decode(payload.id)
          if (Either.isLeft(id)) {
            const error = new IdEncodeError({ aggregate: codecs.name, cause: id.left })
            return Effect.succeed(Wire.encodeFailure(StreamId.make(codecs.name, payload.id), error))
          }
          return withStream(codecs, id.right, (stream) =>
            Effect.flatMap(writerOf(stream.id, id.right), ({ load }) =>
              load).pipe(
                Effect.match({
                  onFailure: (error) =>
                    Wire.encodeFailure(stream, error),
                  onSuccess: (loaded) => Wire.encodeLoaded(codecs.state, stream, loaded)
                })
              ))
        })
    }
  })

/** Opens requests, and seals answers. */
const sealing =
  (name: string, { open, seal }: Messages.Messages, execute: (request: string) => Effect.Effect<string>) =>
  (request: string): Effect.Effect<string> => {
    const failed = (error: EventStore.EventStoreError) =>
      Effect.succeed(Wire.encodeFailure(StreamId.make(name, ""), error))
    return Effect.matchEffect(open(request), {
      onFailure: failed,
      onSuccess: (opened) =>
        // a subject may have been erased meanwhile: a repeat of the command gives an answer without its data
        Effect.flatMap(Effect.catchAllCause(execute(opened), Messages.withoutText), (answer) =>
          Late.is(answer)
            ? Effect.succeed(answer)
            : Effect.catchAll(seal(Messages.withoutCauses(answer)), (error) => failed(unsure(error))))
    })
  }

/** Gives the writer of an id. An entity has one, unless the hash of two long ids is the same. */
const makeWriters = <Id, A>(scope: Scope.Scope, hold: (id: Id) => Effect.Effect<A, never, Scope.Scope>) => {
  const writers = new Map<string, A>()
  return (key: string, id: Id): Effect.Effect<A> =>
    Effect.suspend(() => {
      const writer = writers.get(key)
      if (writer !== undefined) return Effect.succeed(writer)
      return Effect.map(Scope.extend(hold(id), scope), (writer) => {
        writers.set(key, writer)
        return writer
      })
    })
}

const withStream = <Id>(
  { id: codec, name }: Pick<Wire.Codecs<Id, never, never, never, never>, "id" | "name">,
  id: Id,
  run: (stream: StreamId.StreamId) => Effect.Effect<string>
): Effect.Effect<string> =>
  Either.match(codec.encode(id), {
    onLeft: (cause) =>
      Effect.succeed(Wire.encodeFailure(StreamId.make(name, ""), new IdEncodeError({ aggregate: name, cause }))),
    onRight: (encoded) => run(StreamId.make(name, encoded))
  })
