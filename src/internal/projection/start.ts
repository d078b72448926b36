// Starts the work of a process for a projection or a subscription.
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { CheckpointStore } from "../../CheckpointStore.js"
import * as EventStore from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import type * as Position from "../../Position.js"
import { Wakeup } from "../../Wakeup.js"
import * as Counters from "../counters.js"
import * as Signal from "../signal.js"
import { quote } from "../text.js"
import type { Reading } from "./definition.js"
import * as Inline from "./inline.js"
import * as Local from "./local.js"
import * as Lookout from "./lookout.js"
import * as Members from "./members.js"
import type { Key, Registration } from "./model.js"
import * as ProjectionOptions from "./projectionOptions.js"
import type { CheckpointStoreError, SubscriptionMismatch } from "./storeErrors.js"
import type { Deliver } from "./worker.js"

/** A definition, as far as the loops need it. */
export interface Startable<in out E, out R> extends Key {
  readonly kind: Registration["kind"]
  readonly reading: Reading<E>
  readonly deliver: Deliver<E, R>
  /** Handles events in the transaction of their append too, if it is given. */
  readonly inline?: Inline.Handle<E, R> | undefined
  /** Where a new subscription begins. */
  readonly from: Effect.Effect<Position.Position, EventStore.EventStoreError, EventStore.EventStore>
}

export type StartError = InvalidOption | SubscriptionMismatch | CheckpointStoreError | EventStore.EventStoreError

export const start = <E, R>(
  startable: Startable<E, R>,
  given: ProjectionOptions.CommonOptions | undefined
): Effect.Effect<void, StartError, EventStore.EventStore | CheckpointStore | Scope.Scope | R> =>
  Effect.gen(function*() {
    const { deliver, inline, kind, name, reading, version } = startable
    const subject = `${kind} ${quote(name)}`
    const { closeWithin, options: common } = yield* ProjectionOptions.read(subject, given)
    // the reader of an inline projection has little to do: a batch for each append would cost more than the append
    const options = { ...common, personal: reading.personal, ...(inline === undefined ? {} : { rest: restOfInline }) }
    const events = yield* EventStore.EventStore
    if (reading.personal && Option.isNone(events.replay.sealing)) return yield* unopened(subject)
    const checkpoints = yield* CheckpointStore
    if (kind === "Projection") yield* inOneDatabase(subject, checkpoints)
    const from = yield* startable.from
    const key = { name, version }
    const definition = kind === "Projection" ? reading.text : ""
    yield* checkpoints.register({ ...key, kind, definition, partitions: options.partitions, from })
    const report = yield* claim(subject, checkpoints, key)
    const appended = Signal.make()
    const wakeup = yield* Wakeup
    yield* wakeup.subscribe(events, appended.ring)
    const owner = crypto.randomUUID()
    const { local } = checkpoints
    const meter = Counters.projections(name, version)
    const lookout = Lookout.make()
    const site = { key, owner, checkpoints, events, options, appended, lookout, local, report, meter }
    // it ends after the loops: what commands of a closing process append is still handled
    if (inline !== undefined) yield* Inline.follow(subject, site, reading, inline)
    yield* Members.run({ ...site, reading, deliver }, closeWithin)
  })

const restOfInline = 100

const unopened = (subject: string): InvalidOption =>
  new InvalidOption({
    option: `the EventStore of ${subject}`,
    value: "a store that does not open personal data",
    expected: "one that is built with Personal.layer: the events have fields with Personal.schema"
  })

/** The writes of a projection and its checkpoint must be in one transaction. */
const inOneDatabase = (subject: string, checkpoints: CheckpointStore["Type"]): Effect.Effect<void, InvalidOption> =>
  Effect.contextWithEffect((context: Context.Context<never>) =>
    checkpoints.sharesDatabase(context) ? Effect.void : new InvalidOption({
      option: `the SqlClient of ${subject}`,
      value: "another one than that of the CheckpointStore",
      expected:
        "the same, because a projection writes in the transaction of its checkpoint: for another database use a Subscription"
    })
  )

const claim = (
  subject: string,
  { local }: CheckpointStore["Type"],
  key: Key
): Effect.Effect<Local.LocalReport, InvalidOption, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const report = Local.claim(local, key)
      return report === undefined
        ? new InvalidOption({
          option: `${subject}, version ${key.version}`,
          value: "running in this process already",
          expected: "one layer for each name and version"
        })
        : Effect.succeed(report)
    }),
    () => Effect.sync(() => Local.release(local, key))
  )
