import * as Clock from "effect/Clock"

/** Real time, even if a test has stopped the clock: the library waits for other processes, which go on. */
export const liveClock: Clock.Clock = Clock.make()
