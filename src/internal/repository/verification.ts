import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Metrics from "../../Metrics.js"
import type { LoadError, Verification } from "../../Repository.js"
import type * as StreamId from "../../StreamId.js"
import { ofNobody } from "./detached.js"
import * as Logs from "./logs.js"

/** @internal */
export interface Verifier {
  /** Draws lots, and notes the load where it is drawn. It never waits and never fails. */
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
 * Verifies a share of the loads, one at a time, by a fiber that lives in the scope.
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
    const count = Metrics.verifications(aggregate)
    let minute = -1
    let spent = 0

    const withinBudget = (version: number) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        if (Math.floor(now / 60_000) !== minute) {
          minute = Math.floor(now / 60_000)
          spent = 0
        }
        if (spent + version > budget) return false
        spent += version
        return true
      })

    const report = (stream: StreamId.StreamId, verification: Verification): Effect.Effect<void> => {
      count(verification._tag)
      if (verification._tag !== "Refuted") return Effect.void
      const { differences, removed, snapshotVersion, version } = verification
      return Logs.notice(
        "a snapshot was refuted: full replay gives another state. Was evolve changed, and schemaVersion not raised?",
        {
          aggregate,
          id: stream.id,
          version,
          snapshotVersion,
          removed,
          // where, but not what: a log is no place for the values
          differences: differences.map(({ path }) => path).join(", ")
        }
      )
    }

    const run = ({ stream, verify, version }: Request) =>
      Effect.flatMap(withinBudget(version), (affordable) => {
        if (!affordable) return Effect.sync(() => count("Skipped"))
        return Effect.matchCauseEffect(verify, {
          onFailure: (cause) =>
            Effect.zipRight(
              Logs.warn("a snapshot could not be verified", Cause.squash(cause), { aggregate, id: stream.id }),
              Effect.sync(() => count("Failed"))
            ),
          onSuccess: (verification) => report(stream, verification)
        })
      }).pipe(
        Effect.withSpan("Repository.verifySample", {
          root: true,
          captureStackTrace: false,
          attributes: { "eventsourcing.aggregate": aggregate, "eventsourcing.id": stream.id }
        }),
        // not even a logger or a tracer that throws ends the fiber
        Effect.catchAllCause(() => Effect.void)
      )

    yield* Queue.take(queue).pipe(
      // a store that cannot be interrupted does not hold up the closing of the scope
      Effect.flatMap((request) => Effect.disconnect(run(request))),
      Effect.forever,
      Effect.interruptible,
      ofNobody,
      Effect.forkScoped
    )

    return {
      offer: (request) =>
        Effect.map(Random.next, (lot) => {
          if (lot < sample && !queue.unsafeOffer(request)) count("Skipped")
        })
    }
  })
