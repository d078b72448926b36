// Keeps a runner that was frozen from deciding a persisted command that another runner has answered since.
// Mechanism: a persisted command has no end, because a runner executes it even if its client has ended. Its runner looks
// for a stored answer, and decides only for a while after the look. Later it looks again.
// Cost: one statement a persisted command. Why: docs/decisions/0193-answers-of-persisted-commands.md.
import type { Snowflake } from "@effect/cluster/Snowflake"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as EventStore from "../../EventStore.js"
import * as StreamId from "../../StreamId.js"
import * as Late from "./late.js"
import * as Wire from "./wire.js"

/** The part of the cluster's message storage that is needed. */
export interface Answers {
  readonly repliesForUnfiltered: (requestIds: Iterable<Snowflake>) => Effect.Effect<ReadonlyArray<Reply>, unknown>
}

type Reply = { readonly _tag: "Chunk" } | {
  readonly _tag: "WithExit"
  readonly exit: { readonly _tag: "Success"; readonly value: unknown } | { readonly _tag: "Failure" }
}

/** Executes a request, unless it has an answer. Then it gives this answer. */
export const orElse = (
  answers: Answers,
  aggregate: string,
  requestId: Snowflake,
  execute: Effect.Effect<string>
): Effect.Effect<string> => {
  const look = Effect.retry(answers.repliesForUnfiltered([requestId]), Schedule.recurs(3))
  const attempt = (millis: number): Effect.Effect<string, EventStore.EventStoreError> =>
    Effect.clockWith((clock) => {
      const now = clock.unsafeCurrentTimeMillis()
      return Effect.flatMap(Effect.mapError(look, unknown), (replies) => {
        for (const reply of replies) {
          if (reply._tag === "WithExit") {
            return reply.exit._tag === "Success" && typeof reply.exit.value === "string"
              ? Effect.succeed(reply.exit.value)
              : Effect.dieMessage("another runner has answered this request with a defect")
          }
        }
        // commands that take long to decide need a longer while
        return Effect.catchAll(Late.decode(Late.within(now + millis, execute)), () => attempt(millis * 2))
      })
    })
  return Effect.catchAll(
    attempt(1_000),
    (error) => Effect.succeed(Wire.encodeFailure(StreamId.make(aggregate, ""), error))
  )
}

const unknown = (cause: unknown): EventStore.EventStoreError =>
  new EventStore.EventStoreError({
    operation: "append",
    reason: "Unavailable",
    mayHaveAppended: true,
    detail: "the messages of the cluster cannot be read",
    cause
  })
