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
import * as Options from "../options.js"
import * as Output from "../output.js"

export const deleting = CliCommand.make(
  "delete",
  {
    ...Options.shared,
    stream: Options.stream,
    events: CliOptions.choice("events", ["keep", "remove"]).pipe(
      CliOptions.withDescription("keep: its events can still be read. remove: they are deleted, which cannot be undone")
    ),
    expect: CliOptions.integer("expect").pipe(
      CliOptions.withDescription("Deletes it only at this version"),
      CliOptions.optional
    ),
    ...Options.audit,
    ...Confirm.options
  },
  Command.writing(({ events, expect, json, prefix, stream: text, yes, ...audit }) =>
    Effect.gen(function*() {
      const stream = yield* Options.streamOf(text)
      const store = yield* EventStore
      const version = yield* store.version(stream)
      if (version === 0) return yield* new StreamNotFound({ stream })
      const contents = yield* Inspection.contentsOf({ prefix }, stream)
      const found = { stream: text, version, ...contents }
      const { archived, stored } = yield* Inspection.contentsBefore({ prefix }, stream, version + 1)
      const lost = contents.events - archived - stored
      const whole = `its ${contents.events} events ${events === "keep" ? "stay" : "too"}`
      const what = `delete ${Output.cell(text)} at version ${version} (${whole}) and its snapshots, ` +
        `${contents.snapshots} in number` +
        (lost > 0 ? `, which alone have its state, because the contents of ${lost} events were removed` : "")
      if (!(yield* Confirm.ask(what, yes))) return yield* Output.record(json, { ...found, deleted: false })
      const streams = yield* Streams
      const deleted = yield* streams.delete(stream, {
        events,
        expectedVersion: Option.getOrUndefined(Option.map(expect, ExpectedVersion.exact)),
        metadata: Options.metadataOf(audit)
      })
      yield* Output.record(json, { ...found, version: deleted.version, deleted: true, time: deleted.time })
    })
  )
).pipe(
  CliCommand.withDescription(
    "Deletes a stream with its snapshots. It takes no more events, its id cannot be used again, and projections " +
      "that ask for it are told. Without --yes or a terminal it only says what it would delete."
  )
)
