import type * as Event from "../../Event.js"

/**
 * The metadata of a command's events. The options win over the fiber's `Event.CurrentMetadata`, which wins over the trace
 * context and over what follows from the command id. A field that is `undefined` wins over nothing. The command id itself
 * is always that of the options: the fiber may have the metadata of another command's event.
 */
export const ofCommand = (
  ambient: Event.Metadata,
  trace: Event.Metadata,
  commandId: string | undefined,
  own: Event.Metadata | undefined
): Event.Metadata => {
  const metadata: Record<string, unknown> = commandId === undefined
    ? { ...trace }
    : { correlationId: commandId, causationId: commandId, ...trace }
  merge(metadata, ambient)
  delete metadata.commandId
  if (own !== undefined) merge(metadata, own)
  if (commandId !== undefined) metadata.commandId = commandId
  return metadata
}

// copies as a spread does, except for `undefined`
const merge = (metadata: Record<string, unknown>, added: Event.Metadata): void => {
  for (const [key, value] of Object.entries(added)) {
    if (value !== undefined) {
      Object.defineProperty(metadata, key, { value, configurable: true, enumerable: true, writable: true })
    }
  }
}
