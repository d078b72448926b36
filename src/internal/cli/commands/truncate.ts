import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { EventStore, StreamDeleted } from "../../../EventStore.js"
import * as ExpectedVersion from "../../../ExpectedVersion.js"
import type * as StreamId from "../../../StreamId.js"
import { StreamNotFound, Streams } from "../../../Streams.js"
import * as Inspection from "../../sql/inspection.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as Keys from "../keys.js"
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
        if (Keys.areMissing(aggregate, store)) return yield* Keys.missing(aggregate.name)
        const version = yield* store.version(stream)
        if (version === 0) return yield* new StreamNotFound({ stream })
        if (before < 2 || before > version + 1) {
          return yield* new CliError({
            detail: `--before is ${before}; it must be from 2 to ${version + 1}, as the stream is at version ${version}`
          })
        }
        const snapshotVersion = yield* snapshotFor({ prefix, aggregate, stream, before })
        const found = { stream: text, version, before, ...yield* Inspection.contentsBefore({ prefix }, stream, before) }
        const count = found.stored + (events === "remove" ? found.archived : 0)
        const what =
          `${events} ${Output.counted(count, "event")} of ${Output.cell(text)} before version ${before} of ` +
          `${version}, if full replay confirms the snapshot of version ${snapshotVersion}`
        if (!(yield* Confirm.ask(what, yes))) {
          return yield* Output.record(json, { ...found, snapshotVersion, truncated: false })
        }
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
        yield* Output.record(json, {
          stream: text,
          version: yield* store.version(stream),
          before,
          ...yield* Inspection.contentsBefore({ prefix }, stream, before),
          truncated: isDone,
          events: truncated.events
        })
      }),
    () => true
  )
).pipe(
  CliCommand.withDescription(
    "Archives or removes the beginning of a stream, below a snapshot that is verified first. Without --yes or a " +
      "terminal it only says what it would do."
  )
)

interface Request {
  readonly prefix: string
  readonly aggregate: Module.Unknown
  readonly stream: StreamId.StreamId
  readonly before: number
}

/**
 * The version of the snapshot that the truncation will verify. A stored snapshot that is not new enough fails here, so
 * that a dry run does not promise what the truncation then refuses.
 */
const snapshotFor = ({ aggregate: { schemaVersion }, before, prefix, stream }: Request) =>
  Effect.gen(function*() {
    const { aggregate, id } = stream
    const deleted = yield* Inspection.deleted({ prefix }, aggregate, { first: id, last: id })
    if (deleted.has(id)) return yield* new StreamDeleted({ stream })
    const stored = yield* Inspection.snapshots({ prefix, aggregate, id, limit: 1 })
    const own = stored.find((snapshot) => snapshot.schemaVersion === schemaVersion)
    if (own !== undefined && own.version >= before - 1) return own.version
    const highest = own === undefined || own.version < 1
      ? "so that there is no --before that works"
      : `so that the highest --before is ${own.version + 1}`
    const problem = own === undefined
      ? `has no snapshot of schema version ${schemaVersion}`
      : `has a snapshot of version ${own.version}, and --before ${before} needs one of version ${before - 1}`
    return yield* new CliError({
      detail: `${
        Options.streamText(stream)
      } ${problem}, ${highest}: take a snapshot with createSnapshot of a repository`
    })
  })
