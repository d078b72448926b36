/**
 * Recognises loads in the calls of the stores.
 *
 * A load begins with a look for a snapshot or with a read of the tail. The fiber remembers it, so that its further pages
 * are added to it. Cost: one record for each load.
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import type * as StreamId from "../../StreamId.js"

/**
 * The events that one load read of a stream.
 *
 * @since 0.1.0
 * @category models
 */
export interface Load {
  readonly stream: StreamId.StreamId
  /** The version of the snapshot that the load used; 0 if it found none, or if the stream refuted it. */
  readonly snapshot: number
  /** The version of the cached state that the load used without a look at snapshots, otherwise 0. */
  readonly cached: number
  /** The versions of the events that the load folded after that. */
  readonly tail: ReadonlyArray<number>
}

interface Loading {
  readonly stream: StreamId.StreamId
  /** The version of the snapshot that the load was offered. */
  readonly found: number
  readonly cached: number
  snapshot: number
  tail: ReadonlyArray<number>
  /**
   * How many events the first read asked for. `undefined` before the first read. Each further read asks for one event
   * more, as it begins with the last event of the page before.
   */
  limit: number | undefined
}

interface Read {
  readonly fromVersion: number
  readonly limit: number
  readonly versions: ReadonlyArray<number>
}

export const make = () => {
  let loads: Array<Loading> = []
  // a fiber loads one aggregate at a time, and its child fibers begin other loads
  const current = FiberRef.unsafeMake<Loading | undefined>(undefined)

  const begin = (stream: StreamId.StreamId, found: number, read?: Partial<Loading>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const load: Loading = { stream, found, cached: 0, snapshot: 0, tail: [], limit: undefined, ...read }
      loads.push(load)
      return FiberRef.set(current, load)
    })

  return {
    /** Begins a load with the version of the snapshot that the store found, or 0. */
    begin: (stream: StreamId.StreamId, found: number) => begin(stream, found),
    read: (stream: StreamId.StreamId, read: Read): Effect.Effect<void> =>
      Effect.flatMap(FiberRef.get(current), (load) => {
        const { fromVersion, limit, versions } = read
        // not a load: every load asks for two events or more
        if (limit === 1) return Effect.void
        if (load?.stream.aggregate === stream.aggregate && load.stream.id === stream.id && isPartOf(load, read)) {
          return Effect.void
        }
        if (fromVersion === 1) return begin(stream, 0, { tail: versions, limit })
        // otherwise the load goes on from a cached state, if the stream still holds the event of that state
        return versions[0] === fromVersion && versions.length < limit
          ? begin(stream, 0, { cached: fromVersion, tail: versions.slice(1), limit })
          : Effect.void
      }),
    all: Effect.sync((): ReadonlyArray<Load> =>
      loads.map(({ cached, snapshot, stream, tail }) => ({ stream, snapshot, cached, tail }))
    ),
    forget: () => {
      loads = []
    }
  }
}

/**
 * Adds a read to a load, if it belongs to it. A load reads from the version of its snapshot, or from version 1 if it
 * cannot use the snapshot or the stream holds another event there. A further page begins with the last event of the page
 * before.
 */
const isPartOf = (load: Loading, { fromVersion, limit, versions }: Read): boolean => {
  const after = load.tail.at(-1) ?? Math.max(load.snapshot, load.cached)
  if (load.limit === undefined && load.found > 0 && fromVersion === load.found) {
    load.snapshot = load.found
    // the event at the version of the snapshot proves the snapshot and is not folded
    load.tail = versions.filter((version) => version > load.found)
  } else if (load.limit !== undefined && fromVersion === after && limit > load.limit) {
    load.tail = [...load.tail, ...versions.filter((version) => version > after)]
    return true
  } else if (fromVersion === 1 && (load.limit === undefined || load.snapshot > 0)) {
    load.snapshot = 0
    load.tail = versions
  } else {
    return false
  }
  load.limit = limit
  return true
}
