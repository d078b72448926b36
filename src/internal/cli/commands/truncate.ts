import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { EventStore } from "../../../EventStore.js"
import * as ExpectedVersion from "../../../ExpectedVersion.js"
import { StreamNotFound, Streams } from "../../../Streams.js"
import * as Inspection from "../../sql/inspection.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as Module from "../module.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const truncate = CliCommand.make(
  "truncate",
  {
    ...Options.shared,
    ...Options.keys,
    stream: Options.stream,
    before: CliOptions.integer("before").pipe(
      CliOptions.withDescription("The first version that keeps its content")
    ),
    events: CliOptions.choice("events", ["archive", "remove"]).pipe(
      CliOptions.withDescription(
        "archive: all reads take them from the archive. remove: they are deleted, which cannot be undone"
      )
    ),
    module: Options.module,
    expect: CliOptions.integer("expect").pipe(
      CliOptions.withDescription("Truncates it only at this version"),
      CliOptions.optional
    ),
    unverified: CliOptions.boolean("unverified").pipe(
      CliOptions.withDescription("Does not replay a stream whose beginning was removed before: the proof is enough")
    ),
    ...Options.audit,
    ...Confirm.options
  },
  Command.opening(
    ({ before, events, expect, json, module, prefix, stream: text, unverified, yes, ...audit }) =>
      Effect.gen(function*() {
        const stream = yield* Options.streamOf(text)
        const aggregate = yield* Module.aggregate(module, stream.aggregate)
        const store = yield* EventStore
        const version = yield* store.version(stream)
        if (version === 0) return yield* new StreamNotFound({ stream })
        if (before < 2 || before > version + 1) {
          return yield* new CliError({
            detail: `--before is ${before}; it must be from 2 to ${version + 1}, as the stream is at version ${version}`
          })
        }
        const contents = yield* Inspection.contentsBefore({ prefix }, stream, before)
        const found = { stream: text, version, before, ...contents }
        const count = contents.stored + (events === "remove" ? contents.archived : 0)
        const what = `${events} ${count} events of ${Output.cell(text)} before version ${before} of ${version}`
        if (!(yield* Confirm.ask(what, yes))) return yield* Output.record(json, { ...found, truncated: false })
        const streams = yield* Streams
        const truncated = yield* streams.truncate(stream, {
          aggregate,
          before,
          events,
          unverified,
          expectedVersion: Option.getOrUndefined(Option.map(expect, ExpectedVersion.exact)),
          metadata: Options.metadataOf(audit)
        })
        const isDone = Option.isSome(truncated.marker)
        if (!isDone && !json) yield* Output.hint("Nothing was changed: there was nothing left to do.")
        yield* Output.record(json, { ...found, truncated: isDone, events: truncated.events })
      }),
    () => true
  )
).pipe(
  CliCommand.withDescription(
    "Archives or removes the beginning of a stream, below a snapshot that is verified first. Without --yes or a " +
      "terminal it only says what it would do."
  )
)
