// Counts events of the feed after a position: checks the input and asks the driver.
// Costs one statement, which looks at no more than `limit` entries of an index.
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Position from "../../Position.js"
import { unknownKey } from "../options.js"
import type { EventStoreError } from "./eventErrors.js"
import * as Input from "./eventInput.js"
import { afterProblem } from "./feedInput.js"

/**
 * The options of `countAfter`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CountOptions {
  /** The number up to which events are counted. Default 10,000. */
  readonly limit?: number | undefined
}

/**
 * What is in the feed after a position.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counted {
  /** The number of events. If it is the limit, there may be more. */
  readonly events: number
  /** The time of the first of them. */
  readonly first: Option.Option<DateTime.Utc>
}

/** The part of a driver that counts. */
export interface Driver {
  readonly countAfter: (options: {
    readonly after: Position.Position
    readonly limit: number
  }) => Effect.Effect<Counted, EventStoreError>
}

export const countAfter = (
  driver: Driver,
  after: Position.Position,
  options: CountOptions | undefined
): Effect.Effect<Counted, EventStoreError> =>
  Input.whenReadable("countAfter", undefined, () => {
    const wrong = unknownKey("the options of countAfter", options, ["limit"])
    if (wrong !== undefined) return wrong
    const { limit = mostCounted } = options ?? {}
    return afterProblem(after) ?? Input.countProblem({ limit }) ?? (() => driver.countAfter({ after, limit }))
  })

const mostCounted = 10_000
