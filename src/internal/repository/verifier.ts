/**
 * Verifies a share of the loads in the background.
 *
 * Mechanism: a load that is drawn goes into a short queue, and one fiber in the scope of the repository verifies one
 * load at a time.
 * Cost: a random number a load by snapshot. Verifications fold at most `budget` events a minute.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type * as StreamId from "../../StreamId.js"
import * as Counters from "./counters.js"
import { detached } from "./detached.js"
import type { LoadError } from "./errors.js"
import type { Verification } from "./model.js"
import * as Telemetry from "./telemetry.js"

/** @internal */
export interface Verifier {
  /** Queues the load for verification with probability `sample`. It never waits and never fails. */
  readonly offer: (request: Request) => Effect.Effect<void>
}

/** @internal */
export interface Request {
  readonly stream: StreamId.StreamId
  /** About how many events the verification will fold. */
  readonly version: number
  readonly verify: Effect.Effect<Verification, LoadError>
}

const capacity = 64

/**
 * Starts the fiber that verifies.
 *
 * @internal
 */
export const make = (options: {
  readonly aggregate: string
  readonly sample: number
  /** Events in a minute. */
  readonly budget: number
}): Effect.Effect<Verifier, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { aggregate, budget, sample } = options
    const queue = yield* Queue.dropping<Request>(capacity)
    const count = Counters.byOutcome(Counters.snapshotVerifications, aggregate)
    const affordable = withinBudget(budget)

    const run = ({ stream, verify, version }: Request) =>
      Effect.if(affordable(version), {
        onFalse: () => Effect.sync(() => count("Skipped")),
        onTrue: () =>
          Effect.matchCauseEffect(verify, {
            onFailure: (cause) =>
              Effect.zipRight(
                Telemetry.warn("a snapshot could not be verified", Cause.squash(cause), { aggregate, id: stream.id }),
                Effect.sync(() => count("Failed"))
              ),
            onSuccess: (verification) =>
              Effect.suspend(() => {
                count(verification._tag)
                return report(stream, verification)
              })
          })
      }).pipe(
        Effect.withSpan("Repository.verifySample", {
          root: true,
          captureStackTrace: false,
          attributes: { "eventsourcing.aggregate": aggregate, "eventsourcing.id": stream.id }
        }),
        // a logger or a tracer that throws does not end the fiber
        Effect.catchAllCause(() => Effect.void)
      )

    yield* Queue.take(queue).pipe(
      // a store that cannot be interrupted does not delay the closing of the scope
      Effect.flatMap((request) => Effect.disconnect(run(request))),
      Effect.forever,
      Effect.interruptible,
      detached,
      Effect.forkScoped
    )

    return {
      offer: (request) =>
        Effect.map(Random.next, (drawn) => {
          if (drawn < sample && !queue.unsafeOffer(request)) count("Skipped")
        })
    }
  })

/** Spends the budget of the current minute, and returns false if too little is left. */
const withinBudget = (budget: number): (version: number) => Effect.Effect<boolean> => {
  let minute = -1
  let spent = 0
  return (version) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      if (Math.floor(now / 60_000) !== minute) {
        minute = Math.floor(now / 60_000)
        spent = 0
      }
      if (spent + version > budget) return false
      spent += version
      return true
    })
}

const report = ({ aggregate, id }: StreamId.StreamId, verification: Verification): Effect.Effect<void> => {
  if (verification._tag !== "Refuted") return Effect.void
  const { differences, removed, snapshotVersion, version } = verification
  return Telemetry.notice(
    "a snapshot was refuted: full replay gives another state. Was evolve changed, and schemaVersion not raised?",
    {
      aggregate,
      id,
      version,
      snapshotVersion,
      removed,
      // the paths only: a log must not show the values
      differences: differences.map(({ path }) => path).join(", ")
    }
  )
}
