// The events that the library appends itself, to end or to change a stream. Why: docs/decisions/0160-streams-end.md.
// Their types begin with a dollar sign. No aggregate and no append of a program may use them.

/** The type of the last event of a stream that was deleted. */
export const deleted = "$deleted"

/** The type of the event that tells which event of its stream was rewritten. */
export const rewritten = "$rewritten"

/** The type of the event that tells up to which version the beginning of its stream was removed. */
export const truncated = "$truncated"

export const types: ReadonlyArray<string> = [deleted, rewritten, truncated]

const known: ReadonlySet<string> = new Set(types)

/** Whether a stored type is one of the library's own. */
export const isMarker = (type: string): boolean => known.has(type)

/** The problem of a type that is one of the library's own. */
export const typeProblem = (type: string): string | undefined =>
  isMarker(type) ? `is reserved: ${types.join(", ")} are the library's own` : undefined

/**
 * The end of a stream that was deleted, as an event of the feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deleted {
  readonly _tag: "$deleted"
}

/**
 * An event of a stream that was rewritten, as an event of the feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rewritten {
  readonly _tag: "$rewritten"
  /** The version of the event that was rewritten. */
  readonly version: number
}

/**
 * A stream whose beginning was archived or removed, as an event of the feed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Truncated {
  readonly _tag: "$truncated"
  /** The first version that keeps its content in its place. */
  readonly before: number
}

/**
 * The markers that consumers of the feed can ask for.
 *
 * @since 0.1.0
 * @category models
 */
export type Marker = Deleted | Rewritten | Truncated

/** Decodes the payload of a marker, or says why that is not possible. */
export const decode = (type: string, payload: unknown): Marker | string => {
  if (type === deleted) return { _tag: deleted }
  const version = versionIn(payload, type === rewritten ? "version" : "before")
  if (version === undefined) return "the marker names no version"
  return type === rewritten ? { _tag: rewritten, version } : { _tag: truncated, before: version }
}

/** The problem of a marker that is imported: it must be as the library wrote it. */
export const importProblem = (
  { id, payload, type, version }: {
    readonly id?: unknown
    readonly payload?: unknown
    readonly type: string
    readonly version?: number | undefined
  }
): string | undefined => {
  if (id === undefined || version === undefined) return `it is ${type}, which must have its id and its version`
  if (version < 2) return `it is ${type} of version 1, which stands after no event`
  if (type === deleted) {
    const isEmpty = JSON.stringify(payload) === "{}"
    return isEmpty ? undefined : `it is ${type}, whose payload must be an object without fields`
  }
  const marker = decode(type, payload)
  if (typeof marker === "string" || marker._tag === deleted) return `it is ${type}, whose payload names no version`
  const isBefore = marker._tag === rewritten ? marker.version < version : marker.before <= version
  return isBefore ? undefined : `it is ${type}, whose payload names a version after it`
}

/** Whether the metadata of an event say that it was rewritten, with the marker that has this id. */
export const isRewrittenBy = (metadata: unknown, markerId: string): boolean => {
  const entries: unknown = Reflect.get(Object(metadata), rewritten)
  return Array.isArray(entries) && entries.some((entry: unknown) => Reflect.get(Object(entry), "marker") === markerId)
}

/** The version that the payload of a marker names. */
export const versionIn = (payload: unknown, key: "version" | "before" = "version"): number | undefined => {
  const version: unknown = Reflect.get(Object(payload), key)
  return Number.isSafeInteger(version) && Number(version) >= 1 ? Number(version) : undefined
}
