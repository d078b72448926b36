// The log lines of projections and subscriptions.
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import type * as Position from "../../Position.js"
import type { Key, Lease } from "./model.js"

/** Logs that a partition has stopped. The reason may have the program's values: the status has it. */
export const stopped = ({ index, name, version }: Lease, position: Position.Position): Effect.Effect<void> =>
  Effect.logWithLevel(LogLevel.Error, "a projection has stopped").pipe(
    Effect.annotateLogs({ projection: name, version, partition: index, position })
  )

/** Logs that a process gives a subscription up, because the store will never let it work for that. */
export const endedHere = ({ name, version }: Key): Effect.Effect<void> =>
  Effect.logWithLevel(
    LogLevel.Error,
    "this process does not work for a projection any more: Projections.status has the reason"
  ).pipe(Effect.annotateLogs({ projection: name, version }))

/** Logs that the wake-up has no connection. */
export const disconnected = (reason: string): Effect.Effect<void> =>
  Effect.logWithLevel(LogLevel.Debug, `the wake-up lost its connection: ${reason}`)

/** Logs that the wake-up of SQLite sees no changes of the file. */
export const unwatched = (reason: string): Effect.Effect<void> =>
  Effect.logWithLevel(LogLevel.Debug, `the wake-up does not see changes of the database file: ${reason}`)
