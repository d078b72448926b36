import * as Effect from "effect/Effect"
import type { Lease } from "./model.js"
import type { LeaseLost } from "./storeErrors.js"
import type { Site } from "./worker.js"

/** Extends a lease for as long as it runs. Fails when the lease is lost. */
export const renewing = ({ checkpoints, options }: Site, lease: Lease): Effect.Effect<never, LeaseLost> =>
  Effect.sleep(options.ttl / 3).pipe(
    Effect.zipRight(Effect.catchAllCause(Effect.either(checkpoints.renew(lease, options.ttl)), () => Effect.void)),
    // a store that is away or dies for a moment ends nothing: if the lease ran out, the next advance is refused
    Effect.flatMap((renewed) =>
      renewed?._tag === "Left" && renewed.left._tag === "LeaseLost" ? renewed.left : Effect.void
    ),
    Effect.forever
  )
