import * as Data from "effect/Data"

/** An event was rewritten since the snapshot was verified, or another truncation has done all that there was to do. */
export class Overtaken extends Data.TaggedError("Overtaken") {}

/** Whether this is why a try of a truncation has failed, or the `cause` of the failure of all tries. */
export const isOvertaken = (error: unknown): error is Overtaken => error instanceof Overtaken
