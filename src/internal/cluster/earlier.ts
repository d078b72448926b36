// Keeps a runner from refusing a command that an earlier delivery has applied.
// Mechanism: the cluster may deliver a command to a runner with newer code, and again to one with older code that does
// not know the command, or cannot read its events. Before such a refusal the runner looks for the command's first event.
// Cost: one statement for a command that this runner cannot execute. Why: docs/decisions/0191-refusals-of-old-code.md.
import * as Effect from "effect/Effect"
import * as EventStore from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import * as CommandIds from "../repository/commandIds.js"
import { InvalidCommandId } from "../repository/errors.js"
import { isSameStream } from "../streamKey.js"
import { UnreadableAnswer } from "./errors.js"
import * as Wire from "./wire.js"

export type Find = EventStore.EventStore["Type"]["find"]

/** Gives the failure of a command as an answer. */
export const answer = (
  find: Find,
  stream: StreamId.StreamId,
  commandId: string | undefined,
  error: Wire.Failure
): Effect.Effect<string> =>
  Effect.map(
    commandId === undefined || saysSo(error) ? Effect.succeed(error) : Effect.match(
      find([CommandIds.eventIds(stream, commandId)(0)]),
      {
        onFailure: (unknown): Wire.Failure => unknown,
        onSuccess: ([first]): Wire.Failure =>
          first !== undefined && isSameStream(first.stream, stream)
            ? Wire.unreadable(stream, "an earlier delivery was applied, and this runner cannot repeat it", true, error)
            : error
      }
    ),
    (failure) => Wire.encodeFailure(stream, failure)
  )

/** A client takes an error of the store as an unknown outcome. The repository has looked before the others. */
const saysSo = (error: Wire.Failure): boolean =>
  error instanceof EventStore.EventStoreError || error instanceof EventStore.VersionConflict ||
  error instanceof InvalidCommandId || error instanceof UnreadableAnswer
