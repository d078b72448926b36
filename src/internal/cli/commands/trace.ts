import * as CliCommand from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Event from "../../../Event.js"
import * as Command from "../command.js"
import * as EventRow from "../eventRow.js"
import * as FeedEvents from "../feedEvents.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import { positionOf } from "./tail.js"

const keys = ["correlationId", "causationId", "commandId"] as const

export const trace = CliCommand.make(
  "trace",
  {
    ...Options.shared,
    correlation: Options.argument("ID"),
    aggregates: Options.aggregates,
    after: Options.from
  },
  Command.reading(({ after, aggregates, correlation, json }) =>
    Effect.gen(function*() {
      let found = 0
      let unreadable = 0
      const show = (event: EventRow.Stored): Effect.Effect<void> => {
        if (Event.isUnreadable(event)) {
          unreadable += 1
          return Effect.void
        }
        const { metadata } = event
        if (!keys.some((key) => metadata[key] === correlation)) return Effect.void
        found += 1
        return Output.line(json, EventRow.of(json)(event))
      }
      yield* FeedEvents.forEach({ after: yield* positionOf(after), aggregates: Options.filter(aggregates) }, show)
      if (unreadable > 0) {
        yield* Output.hint(
          `The metadata of ${unreadable} events were removed or cannot be read: they may belong here, too.`
        )
      }
      if (found === 0 && !json) yield* Output.hint("no events")
    })
  )
).pipe(
  CliCommand.withDescription(
    "Prints the events that belong together: those whose metadata have this correlationId, causationId or " +
      "commandId. It reads the feed, because the metadata have no index."
  )
)
