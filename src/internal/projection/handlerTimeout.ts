import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Signals that a handler took longer than its time limit. */
export class HandlerTimeout extends Schema.TaggedError<HandlerTimeout>("effect-eventsourcing/HandlerTimeout")(
  "HandlerTimeout",
  { limit: Schema.String }
) {
  override get message(): string {
    return `the handler took longer than ${this.limit}`
  }
}

export const within = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  timeout: Duration.Duration
): Effect.Effect<A, E | HandlerTimeout, R> =>
  Effect.timeoutFail(effect, {
    duration: timeout,
    onTimeout: () => new HandlerTimeout({ limit: Duration.format(timeout) })
  })
