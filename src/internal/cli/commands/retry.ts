import * as CliCommand from "@effect/cli/Command"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { CheckpointStore } from "../../../CheckpointStore.js"
import { EventStore } from "../../../EventStore.js"
import * as Projections from "../../../Projections.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError, NotInOrder } from "../errors.js"
import * as Keys from "../keys.js"
import * as Module from "../module.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as Subscription from "../subscription.js"

export const retry = CliCommand.make(
  "retry",
  {
    ...Options.shared,
    ...Options.keys,
    ...Subscription.key,
    module: Options.handlers,
    ...Confirm.options
  },
  Command.opening(({ json, module, yes, ...options }) =>
    Effect.scoped(Effect.gen(function*() {
      const key = yield* Subscription.keyOf(options)
      const definition = yield* Module.definition(module, key)
      yield* hintAtKeys(definition)
      const services = yield* Module.build(module, "layer", yield* Module.layer(module))
      const [status] = (yield* Projections.status(key.name)).filter(({ version }) => version === key.version)
      const parked = status?.parked ?? 0
      const name = `${Output.cell(key.name)} ${key.version}`
      if (!(yield* Confirm.ask(`handle the ${Output.counted(parked, "parked event")} of ${name} again`, yes))) {
        return yield* Output.record(json, { parked, handled: 0, failed: 0 })
      }
      const { failed, handled } = yield* Effect.provide(
        Effect.zipRight(inOneDatabase(module, definition), Projections.retryParked(definition)),
        // a layer of a whole program may have stores of its own
        Context.merge(services, Context.pick(CheckpointStore, EventStore)(yield* Effect.context<Stores>()))
      )
      yield* Effect.forEach(failed, (event) => Output.line(json, event), { discard: true })
      yield* Output.record(json, { parked, handled, failed: failed.length })
      if (failed.length > 0) {
        return yield* new NotInOrder({ detail: `${Output.counted(failed.length, "event")} failed again` })
      }
    })), () => true)
).pipe(
  CliCommand.withDescription(
    "Handles the parked events of a projection or a subscription again, by the handler in your module, while the " +
      "program runs. Those that are handled are no longer parked. Fails if one of them fails again."
  )
)

/** Without keys only the events that have personal data fail again. */
const hintAtKeys = ({ name, reading }: Module.Definition) =>
  Effect.flatMap(EventStore, ({ replay }) =>
    reading.personal && Option.isNone(replay.sealing)
      ? Output.hint(`Note: ${Keys.missing(`an event of ${name}`).message}.`)
      : Effect.void)

type Stores = CheckpointStore | EventStore

/** A handler of a projection must write in the transaction that unparks the event. */
const inOneDatabase = (file: string, definition: Module.Definition) =>
  Effect.gen(function*() {
    const { sharesDatabase } = yield* CheckpointStore
    const context = yield* Effect.context<never>()
    if (Module.isProjection(definition) && !sharesDatabase(context)) {
      return yield* new CliError({
        detail:
          `layer of --module ${file} has a SqlClient of its own. The handler must use that of the command line, so ` +
          "that it writes in the transaction that unparks the event: export a layer that does not provide a SqlClient"
      })
    }
  })
