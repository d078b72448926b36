import type { StreamId } from "../StreamId.js"

/** A stream as the key of a map: ids do not contain NUL. */
export const streamKey = ({ aggregate, id }: StreamId): string => `${aggregate}\u0000${id}`

export const isSameStream = (one: StreamId, other: StreamId): boolean =>
  one.aggregate === other.aggregate && one.id === other.id
