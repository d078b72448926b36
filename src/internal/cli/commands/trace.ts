import * as Args from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { EventStore } from "../../../EventStore.js"
import * as Command from "../command.js"
import * as EventRow from "../eventRow.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import { positionOf } from "./tail.js"

const keys = ["correlationId", "causationId", "commandId"] as const

export const trace = CliCommand.make(
  "trace",
  {
    ...Options.shared,
    correlation: Args.text({ name: "ID" }),
    aggregates: Options.aggregates,
    after: Options.from
  },
  Command.reading(({ after, aggregates, correlation, json }) =>
    Effect.gen(function*() {
      const store = yield* EventStore
      const found = yield* store.readAll({ after: yield* positionOf(after), aggregates: Options.filter(aggregates) })
        .pipe(
          Stream.filter(({ metadata }) => keys.some((key) => metadata[key] === correlation)),
          Stream.runFoldEffect(0, (count, event) => Effect.as(Output.line(json, EventRow.of(json)(event)), count + 1))
        )
      if (found === 0 && !json) yield* Output.hint("no events")
    })
  )
).pipe(
  CliCommand.withDescription(
    "Prints the events that belong together: those whose metadata have this correlationId, causationId or " +
      "commandId. It reads the feed, because the metadata have no index."
  )
)
