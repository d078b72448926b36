import type { StreamId } from "../StreamId.js"

/** A stream as the key of a map: ids do not contain NUL. */
export const streamKey = ({ aggregate, id }: StreamId): string => `${aggregate}\u0000${id}`

/** The stream as a text for columns and readers, of at most 1,790 bytes. The first slash is after the aggregate. */
export const streamText = ({ aggregate, id }: StreamId): string =>
  `${aggregate.replaceAll("%", "%25").replaceAll("/", "%2F")}/${id}`

export const isSameStream = (one: StreamId, other: StreamId): boolean =>
  one.aggregate === other.aggregate && one.id === other.id
