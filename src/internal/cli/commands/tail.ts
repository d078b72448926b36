import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { EventStore } from "../../../EventStore.js"
import * as Position from "../../../Position.js"
import * as Command from "../command.js"
import { CliError } from "../errors.js"
import * as EventRow from "../eventRow.js"
import * as FeedEvents from "../feedEvents.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const tail = CliCommand.make(
  "tail",
  {
    ...Options.shared,
    aggregates: Options.aggregates,
    types: Options.types,
    after: CliOptions.text("after").pipe(
      CliOptions.withDescription("The position to begin after: start, now, or the position of an event. Default: now"),
      CliOptions.withDefault("now")
    ),
    noFollow: CliOptions.boolean("no-follow").pipe(CliOptions.withDescription("Ends at the last event"))
  },
  Command.reading(({ after, aggregates, json, noFollow, types }) =>
    Effect.gen(function*() {
      const read = (after: Position.Position) =>
        FeedEvents.forEach(
          { after, aggregates: Options.filter(aggregates), types: Options.filter(types) },
          (event) => Output.line(json, EventRow.of(json)(event))
        )
      const first = yield* read(yield* positionOf(after))
      if (noFollow && after === "now") {
        return yield* Output.hint("Nothing to print: without --after it begins now. Give --after start, or a position.")
      }
      if (noFollow) return
      yield* Effect.iterate(first, {
        while: () => true,
        body: (position) => Effect.delay(read(position), "500 millis")
      })
    })
  )
).pipe(
  CliCommand.withDescription("Prints the events of all streams in the order of the feed, and waits for more.")
)

export const positionOf = (text: string) =>
  Effect.gen(function*() {
    if (text === "start") return Position.start
    if (text === "now") return yield* Effect.flatMap(EventStore, ({ head }) => head)
    return yield* Option.match(Schema.decodeUnknownOption(Position.Position)(text), {
      onNone: () => new CliError({ detail: "--after is start, now, or the position of an event" }),
      onSome: Effect.succeed
    })
  })
