import * as Context from "effect/Context"
import * as Event from "../../Event.js"

/**
 * The metadata of a command's events. The options win over the fiber's `Event.CurrentMetadata`, which wins over the trace
 * context and over what follows from the command id. The command id itself is always that of the options.
 */
export const ofCommand = (
  context: Context.Context<never>,
  trace: Event.Metadata,
  commandId: string | undefined,
  own: Event.Metadata | undefined
): Event.Metadata => {
  const current = Context.get(context, Event.CurrentMetadata)
  return commandId === undefined
    ? { ...trace, ...current, ...own }
    : { correlationId: commandId, causationId: commandId, ...trace, ...current, ...own, commandId }
}
