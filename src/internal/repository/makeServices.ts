import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Aggregate from "../../Aggregate.js"
import * as EventStore from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import * as Metrics from "../../Metrics.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import * as Counters from "../counters.js"
import { tagsOf } from "../schema/tags.js"
import * as BackOff from "./backOff.js"
import * as CommandMeter from "./commandMeter.js"
import * as Loadable from "./loadable.js"
import { make as makeLoader } from "./loader.js"
import * as Options from "./options.js"
import * as Sealed from "./sealed.js"
import type { Services } from "./services.js"
import * as Snapshotter from "./snapshotter.js"
import * as Telemetry from "./telemetry.js"
import { makeVerifier } from "./verification.js"

/** Checks the options of a repository and makes what its modules share. */
export const makeServices = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
  options: Options.Options<State, Event>,
  decode: Services<Id, State, Event>["decode"]
): Effect.Effect<
  Services<Id, State, Event>,
  InvalidOption,
  EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
> =>
  Effect.gen(function*() {
    const problem = Options.problem(aggregate, options)
    if (problem !== undefined) return yield* problem
    const { retry, snapshotOnLoad, snapshotTimeout: timeout, snapshots: policy, verify, ...loading } = Options.complete(
      options
    )
    const { name } = aggregate
    const loadable = Loadable.make(aggregate, loading.onDrift)
    const events = yield* EventStore.EventStore
    const snapshots = yield* SnapshotStore.SnapshotStore
    const shared = events.replay.withSnapshots(snapshots)
    if (policy._tag === "Inline" && Option.isNone(shared)) {
      return yield* new InvalidOption({
        option: "SnapshotPolicy mode",
        value: "inline, with stores that share no database",
        expected: "sync or background, or both stores must be SQL stores on one client"
      })
    }
    const unsealed = Sealed.problem(aggregate, events)
    if (unsealed !== undefined) return yield* unsealed
    const { inTransaction } = events.replay
    return {
      loadable,
      state: aggregate.state.schema,
      decode,
      events,
      snapshots,
      loader: makeLoader(loadable, {
        ...loading,
        events,
        snapshots: policy._tag === "None" ? Option.none() : Option.some(snapshots),
        timeout
      }),
      inTransaction,
      shared,
      policy,
      when: policy._tag === "None" || policy._tag === "Manual" ? undefined : policy.when,
      snapshotOnLoad,
      timeout,
      retry,
      snapshotter: policy._tag === "Background"
        ? yield* Snapshotter.make(name, { ...policy.options, inTransaction })
        : undefined,
      verifier: verify && (yield* makeVerifier({ aggregate: name, ...verify })),
      backOff: BackOff.make(),
      hanging: new Set(),
      writers: new Set(),
      loads: Telemetry.loads(name),
      saves: Counters.saves(name),
      commandTags: tagsOf(aggregate.command),
      meter: (yield* Metrics.CommandMetrics) ? CommandMeter.make(name) : undefined
    }
  })
