import * as Clock from "effect/Clock"

/**
 * Real time, also where a test has stopped the clock: other processes and transactions, which are waited for, go on in it.
 *
 * @internal
 */
export const liveClock: Clock.Clock = Clock.make()
