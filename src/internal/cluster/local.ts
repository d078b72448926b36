// Gives the calls of entities the errors of a repository.
// Mechanism: an answer that this version of the program cannot read is found again in the event store: a command by its
// id, a state by a load.
import * as Effect from "effect/Effect"
import * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import type * as Repository from "../../Repository.js"
import type { Executed, Loaded } from "../repository/model.js"
import type * as Options from "../repository/options.js"
import type { Calls } from "./calls.js"
import { CommandTimeout, LoadTimeout, unanswered, UnreadableAnswer } from "./errors.js"

type Transactions = Pick<EventStore.ReplaySeam, "inTransaction">

type ExecuteAll<Id, State, Event, Command, E> = (
  id: Id,
  commands: ReadonlyArray<Command>,
  options?: Options.ExecuteOptions
) => Effect.Effect<Executed<State, Event>, E>

/** Executes commands by the entities. Outside a transaction only: an entity cannot take part in it. */
export const commands = <Id, State, Event, Command, Rejection>(
  { inTransaction }: Transactions,
  calls: Pick<Calls<Id, State, Event, Command, Rejection>, "executeAll">,
  local: ExecuteAll<Id, State, Event, Command, Rejection | Repository.ExecuteError>
): ExecuteAll<Id, State, Event, Command, Rejection | Repository.ExecuteError> =>
(id, commands, options) =>
  Effect.gen(function*() {
    if (yield* inTransaction) return yield* outsideOnly
    const commandId = options?.commandId ?? (yield* yield* Event.IdGenerator)
    const named = { ...options, commandId }
    return yield* Effect.catchAll(
      calls.executeAll(id, commands, named),
      (error): Effect.Effect<Executed<State, Event>, Rejection | Repository.ExecuteError> => {
        if (error instanceof CommandTimeout) return timedOut(error)
        if (!(error instanceof UnreadableAnswer)) return Effect.fail(error)
        // it counts once here too
        return Effect.map(local(id, commands, named), (executed) =>
          options?.commandId === undefined ? { ...executed, duplicate: false } : executed)
      }
    )
  })

const outsideOnly = new EventStore.EventStoreError({
  operation: "append",
  reason: "InvalidInput",
  mayHaveAppended: false,
  detail:
    "an entity of a cluster cannot take part in this transaction: execute the command before or after it, or use " +
    "a repository of Repository.layer"
})

const timedOut = (error: CommandTimeout): EventStore.EventStoreError =>
  new EventStore.EventStoreError({
    operation: "append",
    stream: error.stream,
    reason: "Unavailable",
    mayHaveAppended: true,
    detail: `the command was ${unanswered(error)}: the cause has its commandId`,
    cause: error
  })

/** Loads by the entities, and inside a transaction from the store. */
export const loads = <Id, State>(
  { inTransaction }: Transactions,
  { load }: {
    readonly load: (
      id: Id
    ) => Effect.Effect<Loaded<Id, State>, Repository.LoadError | LoadTimeout | UnreadableAnswer>
  },
  local: (id: Id) => Effect.Effect<Loaded<Id, State>, Repository.LoadError>
) =>
(id: Id): Effect.Effect<Loaded<Id, State>, Repository.LoadError> =>
  Effect.flatMap(
    inTransaction,
    (open) =>
      open ? local(id) : Effect.catchAll(load(id), (error): Effect.Effect<Loaded<Id, State>, Repository.LoadError> => {
        if (error instanceof UnreadableAnswer) return local(id)
        return error instanceof LoadTimeout
          ? new EventStore.EventStoreError({
            operation: "read",
            stream: error.stream,
            reason: "Unavailable",
            mayHaveAppended: false,
            detail: error.message,
            cause: error
          })
          : Effect.fail(error)
      })
  )
