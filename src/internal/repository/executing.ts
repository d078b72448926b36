// Executes the commands of a repository and of its writers: checks the options, and watches each command.
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Aggregate from "../../Aggregate.js"
import * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import * as Commands from "./commands.js"
import type { ExecuteError } from "./errors.js"
import type { Held } from "./held.js"
import * as Metadata from "./metadata.js"
import type { Executed } from "./model.js"
import * as Options from "./options.js"
import type { Services } from "./services.js"
import * as Source from "./source.js"
import { decideStored } from "./storedEvents.js"
import * as Watching from "./watching.js"

export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  services: Services<Id, State, Event>
) =>
(
  id: Id,
  commands: ReadonlyArray<Command>,
  options: Options.ExecuteOptions | undefined,
  /** The state that a writer holds. */
  held?: Held<State>
): Effect.Effect<Executed<State, Event>, Rejection | ExecuteError> =>
  Effect.withFiberRuntime((fiber) => {
    const own = Options.ofCommand(aggregate.name, options)
    if (Either.isLeft(own)) return typeof own.left === "string" ? invalidOptions("append", own.left) : own.left
    const ambient = Options.ambientMetadata(Context.get(fiber.currentContext, Event.CurrentMetadata))
    if (Either.isLeft(ambient)) return invalidOptions("append", ambient.left)
    const { commandId, expectedVersion, metadata } = own.right
    return Watching.command(services, fiber, { id, commands }, (trace, watch) =>
      Commands.execute({
        services,
        id,
        decide: (state) => decideStored(aggregate, state, commands),
        source: held?.source ?? Source.make(services.loadable, aggregate.state),
        held,
        expected: expectedVersion,
        commandId,
        metadata: Metadata.ofCommand(ambient.right, trace, commandId, metadata),
        watch
      }))
  })

export const invalidOptions = (
  operation: EventStore.EventStoreError["operation"],
  detail: string
): EventStore.EventStoreError =>
  new EventStore.EventStoreError({ operation, reason: "InvalidInput", mayHaveAppended: false, detail })
