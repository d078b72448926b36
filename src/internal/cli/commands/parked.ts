import * as CliArgs from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Position from "../../../Position.js"
import * as Projections from "../../../Projections.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as Subscription from "../subscription.js"

export const parked = CliCommand.make(
  "parked",
  { ...Options.shared, ...Subscription.key, limit: Options.limit(100) },
  Command.reading((options) =>
    Effect.gen(function*() {
      const found = yield* Projections.parked(yield* Subscription.keyOf(options), { limit: options.limit })
      yield* Output.rows(
        options.json,
        found.map(({ time, ...event }) => ({ ...event, time: DateTime.formatIso(DateTime.unsafeMake(time)) })),
        "no parked events"
      )
    })
  )
).pipe(
  CliCommand.withDescription(
    "Lists the events that a projection or a subscription parked, with the reasons. See retry and drop."
  )
)

export const drop = CliCommand.make(
  "drop",
  {
    ...Options.shared,
    ...Subscription.key,
    positions: CliArgs.text({ name: "POSITION" }).pipe(
      CliArgs.withDescription("As the command parked prints them"),
      CliArgs.atLeast(1)
    ),
    ...Confirm.options
  },
  Command.writing(({ json, positions: texts, yes, ...options }) =>
    Effect.gen(function*() {
      const positions = yield* Effect.mapError(
        Effect.forEach(texts, (text) => Schema.decode(Position.Position)(text)),
        () => new CliError({ detail: "POSITION is a position as the command parked prints it" })
      )
      const key = yield* Subscription.keyOf(options)
      const isSure = yield* Confirm.ask(`drop ${positions.length} parked events`, yes)
      const dropped = isSure && (yield* Projections.dropParked(key, positions))
      if (isSure && !dropped) {
        return yield* new CliError({ detail: "not all of these events are parked: none was dropped" })
      }
      yield* Output.record(json, { events: positions.length, dropped })
    })
  )
).pipe(
  CliCommand.withDescription("Drops parked events: they are never handled.")
)

export const resume = CliCommand.make(
  "resume",
  { ...Options.shared, ...Subscription.key },
  Command.writing((options) =>
    Effect.gen(function*() {
      yield* Output.record(options.json, { resumed: yield* Projections.resume(yield* Subscription.keyOf(options)) })
    })
  )
).pipe(
  CliCommand.withDescription(
    "Lets the stopped partitions of a projection or a subscription go on. Their next event is tried again."
  )
)
