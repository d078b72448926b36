// Gives the calls of entities the errors of a repository.
import * as Effect from "effect/Effect"
import * as EventStore from "../../EventStore.js"
import type * as Repository from "../../Repository.js"
import type { Executed, Loaded } from "../repository/model.js"
import type * as Options from "../repository/options.js"
import type { Calls } from "./calls.js"
import { CommandTimeout, LoadTimeout, UnreadableAnswer } from "./errors.js"

/** Executes commands by the entities. Outside a transaction only: an entity cannot take part in it. */
export const commands = <Id, State, Event, Command, Rejection>(
  { inTransaction }: Pick<EventStore.ReplaySeam, "inTransaction">,
  { executeAll }: Pick<Calls<Id, State, Event, Command, Rejection>, "executeAll">
) =>
(
  id: Id,
  commands: ReadonlyArray<Command>,
  options?: Options.ExecuteOptions
): Effect.Effect<Executed<State, Event>, Rejection | Repository.ExecuteError> =>
  Effect.flatMap(inTransaction, (open) =>
    open
      ? new EventStore.EventStoreError({
        operation: "append",
        reason: "InvalidInput",
        mayHaveAppended: false,
        detail:
          "an entity of a cluster cannot take part in this transaction: execute the command before or after it, " +
          "or use a repository of Repository.layer"
      })
      : Effect.mapError(
        executeAll(id, commands, options),
        (error) => error instanceof CommandTimeout || error instanceof UnreadableAnswer ? commandError(error) : error
      ))

const commandError = (error: CommandTimeout | UnreadableAnswer): EventStore.EventStoreError =>
  new EventStore.EventStoreError({
    operation: "append",
    stream: error.stream,
    reason: "Unavailable",
    mayHaveAppended: error._tag === "CommandTimeout" || error.applied !== false,
    detail: error.message,
    cause: error
  })

/** Loads by the entities, and inside a transaction from the store. */
export const loads = <Id, State>(
  { inTransaction }: Pick<EventStore.ReplaySeam, "inTransaction">,
  { load }: {
    readonly load: (
      id: Id
    ) => Effect.Effect<Loaded<Id, State>, Repository.LoadError | LoadTimeout | UnreadableAnswer>
  },
  fromStore: (id: Id) => Effect.Effect<Loaded<Id, State>, Repository.LoadError>
) =>
(id: Id): Effect.Effect<Loaded<Id, State>, Repository.LoadError> =>
  Effect.flatMap(
    inTransaction,
    (open) =>
      open ?
        fromStore(id) :
        Effect.mapError(load(id), (error) =>
          error instanceof LoadTimeout || error instanceof UnreadableAnswer
            ? new EventStore.EventStoreError({
              operation: "read",
              stream: error.stream,
              reason: "Unavailable",
              mayHaveAppended: false,
              detail: error.message,
              cause: error
            })
            : error)
  )
