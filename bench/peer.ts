import type { Backend } from "./backend.js"

/** Another event store, used the way its own documentation says, with the same events and the same reducer. */
export interface Peer {
  readonly name: string
  readonly backend: Backend["name"] | "memory"
  /** Appends so many events to a stream that has none, thousands at a time. */
  readonly seed: (stream: string, events: number) => Promise<void>
  /** Folds a stream from its first event. */
  readonly load: (stream: string) => Promise<unknown>
  /** The events of a short stream as it gives them, at once. */
  readonly read: (stream: string) => Promise<unknown>
  /** Appends one event, or some at once, with the stream's version as a condition. */
  readonly append: (stream: string, version: number, events: number) => Promise<void>
  /** Loads, decides one event and appends it, also to a stream that has none. */
  readonly command: (stream: string) => Promise<void>
  readonly close: () => Promise<void>
}
