import * as Schema from "effect/Schema"

/**
 * Marks an injected failure: it is the cause of the typed errors, and the defect of a call that dies.
 *
 * @example
 * ```ts
 * import { Faults } from "effect-eventsourcing/testing"
 *
 * const isOfAppend = (cause: unknown) => cause instanceof Faults.Injected && cause.operation === "EventStore.append"
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class Injected extends Schema.TaggedError<Injected>("effect-eventsourcing/testing/Injected")("Injected", {
  operation: Schema.String,
  /** The number of the call among the calls of this operation, from 1. */
  call: Schema.Number,
  fault: Schema.String
}) {
  /** @since 0.1.0 */
  override get message(): string {
    return `${this.fault}, injected into call ${this.call} of ${this.operation}`
  }
}

export const isInjected = (error: unknown): boolean => {
  const seen = new Set<unknown>()
  for (let current = error; typeof current === "object" && current !== null && !seen.has(current);) {
    if (current instanceof Injected) return true
    seen.add(current)
    current = "cause" in current ? current.cause : undefined
  }
  return false
}
