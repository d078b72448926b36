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
import { positionOf } from "./tail.js"

export const parked = CliCommand.make(
  "parked",
  { ...Options.shared, ...Subscription.key, after: Options.from, limit: Options.limit(100) },
  Command.reading(({ json, limit, ...options }) =>
    Effect.gen(function*() {
      yield* Options.checkLimit(limit)
      const after = yield* positionOf(options.after)
      const found = yield* Projections.parked(yield* Subscription.keyOf(options), { after, limit })
      yield* Output.rows(
        json,
        found.map(({ time, ...event }) => ({ ...event, time: DateTime.formatIso(DateTime.unsafeMake(time)) })),
        "no parked events"
      )
      if (found.length === limit && !json) {
        yield* Output.hint("There may be more: give --after the position of the last one.")
      }
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
    positions: Options.argument("POSITION").pipe(
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
      const missing = yield* notParked(key, positions)
      if (missing.length > 0) return yield* refused(`not parked: ${missing.join(", ")}`)
      const isSure = yield* Confirm.ask(`drop ${Output.counted(positions.length, "parked event")}`, yes)
      const dropped = isSure && (yield* Projections.dropParked(key, positions))
      // a retry was first
      if (isSure && !dropped) return yield* refused("they have just been handled or dropped")
      yield* Output.record(json, { events: positions.length, dropped })
    })
  )
).pipe(
  CliCommand.withDescription("Drops parked events: they are never handled.")
)

const refused = (reason: string): CliError =>
  new CliError({ detail: `not all of these events are parked, so none was dropped: ${reason}` })

/** Looks through the parked events, because they are not listed by position. */
const notParked = (key: Parameters<typeof Projections.parked>[0], positions: ReadonlyArray<Position.Position>) =>
  Effect.gen(function*() {
    const missing = new Set(positions)
    let after = Position.start
    let atEnd = false
    while (!atEnd && missing.size > 0) {
      const page = yield* Projections.parked(key, { after, limit })
      for (const { position } of page) {
        missing.delete(position)
        after = position
      }
      atEnd = page.length < limit
    }
    return [...missing]
  })

const limit = 500

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
