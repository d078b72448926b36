import * as Args from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Diagnosis from "../../sql/diagnosis.js"
import * as Command from "../command.js"
import * as Listing from "../listing.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const streams = CliCommand.make(
  "streams",
  {
    ...Options.shared,
    aggregate: Options.argument("AGGREGATE").pipe(
      Args.withDescription("The name of the aggregate. Without it the names of all aggregates are printed"),
      Args.optional
    ),
    after: CliOptions.text("after").pipe(
      CliOptions.withDescription("The id after which the list begins"),
      CliOptions.optional
    ),
    limit: Options.limit(100)
  },
  Command.reading(({ after, aggregate, json, limit, prefix }) =>
    Effect.gen(function*() {
      yield* Options.checkLimit(limit)
      if (Option.isSome(aggregate)) {
        return yield* streamsOf({
          aggregate: aggregate.value,
          after: Option.getOrUndefined(after),
          json,
          limit,
          prefix
        })
      }
      const names = yield* Diagnosis.aggregates({ prefix })
      yield* Output.rows(json, names.map((aggregate) => ({ aggregate })), "no events")
    })
  )
).pipe(
  CliCommand.withDescription("Lists the streams of an aggregate with their versions, in the order of their ids.")
)

const streamsOf = ({ json, ...options }: Listing.ListOptions & { readonly json: boolean }) =>
  Effect.gen(function*() {
    const found = yield* Listing.streams(options)
    yield* Output.rows(
      json,
      found.map(({ id, ...row }) => ({ stream: Options.streamText({ aggregate: options.aggregate, id }), ...row })),
      "no streams"
    )
    if (found.length === options.limit && !json) {
      yield* Output.hint("There may be more: give --after the id of the last one.")
    }
  })
