import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "../command.js"
import * as Emptied from "../emptied.js"
import * as EventRow from "../eventRow.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as StreamEvents from "../streamEvents.js"

export const events = CliCommand.make(
  "events",
  {
    ...Options.shared,
    stream: Options.stream,
    from: CliOptions.integer("from").pipe(CliOptions.withDescription("The first version"), CliOptions.optional),
    to: CliOptions.integer("to").pipe(CliOptions.withDescription("The last version"), CliOptions.optional),
    reverse: CliOptions.boolean("reverse").pipe(CliOptions.withDescription("The newest event first")),
    limit: Options.limit(100)
  },
  Command.reading(({ from, json, limit, prefix, reverse, stream, to }) =>
    Effect.gen(function*() {
      yield* Options.checkLimit(limit)
      const found = yield* StreamEvents.read(yield* Options.streamOf(stream), {
        fromVersion: Option.getOrUndefined(from),
        toVersion: Option.getOrUndefined(to),
        reverse,
        limit
      })
      const elsewhere = yield* Emptied.among({ prefix }, found)
      const row = EventRow.of(json)
      const timed = yield* Emptied.times({ prefix }, found)
      const rows = timed.map((event) => ({ ...row(event), ...elsewhere(event) }))
      yield* Output.rows(json, rows, "no events")
      if (found.length === limit && !json) yield* Output.hint("There may be more: give --limit, --from or --to.")
    })
  )
).pipe(
  CliCommand.withDescription("Prints the events of a stream. One that does not decode is shown with the reason.")
)
