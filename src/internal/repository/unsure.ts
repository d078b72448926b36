import * as EventStore from "../../EventStore.js"

/** Returns the same error with `mayHaveAppended: true`, for an append that may have happened. */
export const unsure = (error: EventStore.EventStoreError): EventStore.EventStoreError =>
  // the cause of an error is not enumerable, so that a spread leaves it out
  new EventStore.EventStoreError({ ...error, cause: error.cause, mayHaveAppended: true })
