import * as Duration from "effect/Duration"

/** Spaces the tries of streams that fail for a lasting reason: a minute, then twice as long, up to an hour. */
export interface BackOff {
  /** Whether it is too early to try again. */
  readonly waits: (id: string, now: number) => boolean
  /** Notes a failure. Returns whether it is the first since the last success. */
  readonly failed: (id: string, now: number) => boolean
  readonly succeeded: (id: string) => void
}

export const make = (): BackOff => {
  // the stream that failed longest ago comes first
  const streams = new Map<string, { readonly until: number; readonly wait: number }>()
  return {
    waits: (id, now) => {
      const failure = streams.size === 0 ? undefined : streams.get(id)
      return failure !== undefined && now < failure.until
    },
    failed: (id, now) => {
      const before = streams.get(id)
      const wait = before === undefined ? shortest : Math.min(before.wait * 2, longest)
      streams.delete(id)
      streams.set(id, { until: now + wait, wait })
      if (streams.size > capacity) {
        for (const oldest of streams.keys()) {
          streams.delete(oldest)
          break
        }
      }
      return before === undefined
    },
    succeeded: (id) => {
      if (streams.size > 0) streams.delete(id)
    }
  }
}

const shortest = Duration.toMillis("1 minute")

const longest = Duration.toMillis("1 hour")

const capacity = 1_024
