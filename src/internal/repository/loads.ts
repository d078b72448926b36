// Loads an aggregate for a caller, and reports the load.
// Mechanism: the loader's state, with its outcome in metric, span and log. A share of the loads is offered for
// verification. A load over `maxReplay` asks the background worker, which has no limit, for a snapshot.
// Cost: a counter, if neither a tracer nor the log level wants more.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Baseline } from "./baseline.js"
import type { LoadError } from "./errors.js"
import { always, saveCommitted } from "./saves.js"
import type { Services } from "./services.js"
import type { Source } from "./source.js"
import { verify } from "./verification.js"

export const load = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  options: { readonly mayWrite: boolean; readonly source?: Source<State> }
): Effect.Effect<Baseline<State>, LoadError> => {
  const loading = services.loader.load(id, { onRefused: services.loads.refused, source: options.source })
  return (services.meter === undefined ? loading : services.meter.load(loading)).pipe(
    Effect.tap((baseline) => report(services, id, baseline)),
    Effect.tapError((error) => options.mayWrite ? shortenReplay(services, id, error) : Effect.void)
  )
}

const report = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  baseline: Baseline<State>
): Effect.Effect<void> => {
  const { loads, snapshotOnLoad, verifier } = services
  const { stream, used, version } = baseline
  const reported = loads.loaded(baseline)
  return verifier === undefined || Option.isNone(used)
    ? reported
    : Effect.zipRight(reported, verifier.offer({ stream, version, verify: verify(services, id, snapshotOnLoad) }))
}

const shortenReplay = <Id, State, Event>(
  services: Services<Id, State, Event>,
  id: Id,
  error: LoadError
): Effect.Effect<void> =>
  Effect.sync(() => {
    if (error._tag !== "ReplayTooLong") return
    const { stream } = error
    services.snapshotter?.offer({ stream, version: Infinity, save: saveCommitted(services, id, stream, always, 0) })
  })
