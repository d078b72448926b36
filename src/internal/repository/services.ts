import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as Event from "../../Event.js"
import type * as EventStore from "../../EventStore.js"
import type * as SnapshotPolicy from "../../SnapshotPolicy.js"
import type * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import type * as Counters from "../counters.js"
import type { BackOff } from "./backOff.js"
import type { CommandMeter } from "./commandMeter.js"
import type { LoadError } from "./errors.js"
import type { Loadable } from "./loadable.js"
import type { Loader } from "./loader.js"
import type { Verification } from "./model.js"
import type { Snapshotter } from "./snapshotter.js"
import type * as Telemetry from "./telemetry.js"

/** The services and settings that the modules of a repository share. `Repository.make` builds them once. */
export interface Services<in Id, in out State, in out Event> {
  readonly loadable: Loadable<Id, State>
  readonly state: Schema.Schema<State>
  readonly decode: (
    recorded: Event.RecordedEvent
  ) => Either.Either<Event.Envelope<Event> | Event.Retired, EventStore.EventDecodeError>
  readonly events: EventStore.EventStore["Type"]
  readonly snapshots: SnapshotStore.SnapshotStore["Type"]
  readonly loader: Loader<Id, State>
  /** Whether the calling fiber is inside a transaction of the event store. */
  readonly inTransaction: Effect.Effect<boolean>
  /** Exists if both stores share a database. */
  readonly shared: Option.Option<EventStore.SharedDatabase>

  readonly policy: SnapshotPolicy.SnapshotPolicy<State, Event>
  /** The condition of the policy. The modes none and manual have none. */
  readonly when: SnapshotPolicy.When<State, Event> | undefined
  readonly snapshotOnLoad: boolean
  /** The limit of each call of the snapshot store. */
  readonly timeout: Duration.DurationInput
  readonly retry: Schedule.Schedule<unknown, EventStore.VersionConflict>

  /** Exists in background mode. */
  readonly snapshotter: Snapshotter | undefined
  /** Exists if a share of the loads is verified. */
  readonly verifier: Verifier | undefined
  readonly backOff: BackOff
  /** The streams whose sync saves passed their timeout and still run. */
  readonly hanging: Set<StreamId.StreamId>
  /** The writers that hold a state. */
  readonly writers: Set<{ readonly stream: StreamId.StreamId; readonly drop: () => void }>
  readonly loads: Telemetry.Loads
  readonly saves: Counters.Saves
  /** The tags that the command schema declares. */
  readonly commandTags: ReadonlySet<string>
  /** Exists if the program asks for the metrics of commands. */
  readonly meter: CommandMeter | undefined
}

export interface Verifier {
  /** Queues the load for verification with probability `sample`. It never waits and never fails. */
  readonly offer: (request: VerifyRequest) => Effect.Effect<void>
}

export interface VerifyRequest {
  readonly stream: StreamId.StreamId
  /** About how many events the verification will fold. */
  readonly version: number
  readonly verify: Effect.Effect<Verification, LoadError>
}
