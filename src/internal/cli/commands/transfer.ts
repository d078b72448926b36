import * as CliArgs from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  EventStore,
  HistoryGap,
  type ImportedEvent,
  type ImportProgress,
  type VersionConflict
} from "../../../EventStore.js"
import * as Position from "../../../Position.js"
import * as StreamId from "../../../StreamId.js"
import { importProblem, isMarker } from "../../markers.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as EventRow from "../eventRow.js"
import * as Options from "../options.js"
import { streamText } from "../options.js"
import * as Output from "../output.js"
import { positionOf } from "./tail.js"

export const exporting = CliCommand.make(
  "export",
  { ...Options.shared, aggregates: Options.aggregates, after: Options.from },
  Command.reading(({ after, aggregates }) =>
    Effect.gen(function*() {
      const store = yield* EventStore
      const events = store.readAll({ after: yield* positionOf(after), aggregates: Options.filter(aggregates) })
      yield* Stream.runForEach(events, (event) => Output.line(true, EventRow.toJson(event))).pipe(
        Effect.mapError((error) =>
          error._tag === "EventDecodeError" && isRemoved(error.cause) ? removed(error.stream) : error
        )
      )
    })
  )
).pipe(
  CliCommand.withDescription(
    "Prints the events of all streams in the order of the feed, one JSON object a line. To go on after an " +
      "export that was cut off, give --after the position of the last whole line. It stops at an event whose content " +
      "a truncation removed."
  )
)

const isRemoved = (cause: unknown): boolean => cause instanceof HistoryGap && cause.removed === true

const removed = (stream: StreamId.StreamId): CliError =>
  new CliError({
    detail: `${streamText(stream)} cannot be exported: a truncation or retention has removed contents of its events, ` +
      "so that only its snapshot has its state. Move the database by a backup. If the stream is not needed any more, delete " +
      "it with --events remove"
  })

/** A line of an export. The position is that of the exporting database. */
const Line = Schema.parseJson(Schema.Struct({
  stream: StreamId.StreamId,
  type: Schema.String,
  payload: Schema.Unknown,
  version: Schema.optional(Schema.Number),
  id: Schema.optional(Schema.String),
  time: Schema.optional(Schema.DateTimeUtc),
  metadata: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.Unknown }))
}))

export const importing = CliCommand.make(
  "import",
  {
    ...Options.shared,
    file: CliArgs.file({ name: "FILE", exists: "either" }).pipe(
      CliArgs.withDescription("The file with the lines of an export"),
      CliArgs.mapEffect(Options.noOption)
    ),
    batch: CliOptions.integer("batch").pipe(
      CliOptions.withDescription("How many events are stored at once, all or none. Default: 1000"),
      CliOptions.withDefault(1_000)
    ),
    dryRun: CliOptions.boolean("dry-run").pipe(CliOptions.withDescription("Reads all lines, and stores nothing")),
    ...Confirm.options
  },
  Command.writing(({ batch, dryRun, file, json, yes }) =>
    Effect.gen(function*() {
      const events = yield* linesOf(file)
      // all lines are read before anything is stored
      const count = yield* Stream.runCount(events)
      const isSure = !dryRun && (yield* Confirm.ask(`import ${count} events`, yes))
      const none: ImportProgress = { imported: 0, skipped: 0, position: Position.start }
      const store = yield* EventStore
      const last = yield* Ref.make(none)
      const storing = Stream.runForEach(
        store.import(events, { batchSize: batch, markers: "keep" }),
        (progress) =>
          Effect.zipRight(
            Ref.set(last, progress),
            Output.progress(`${progress.imported + progress.skipped} of ${count} events`)
          )
      ).pipe(
        Effect.catchTag("VersionConflict", (conflict) =>
          Effect.flatMap(last, ({ imported, skipped }) => {
            const stored = imported + skipped
            return misfit(conflict, stored + 1, Math.min(count, stored + batch))
          }))
      )
      if (isSure) yield* storing
      const done = yield* last
      yield* Output.record(json, { lines: count, imported: done.imported, skipped: done.skipped })
    })
  )
).pipe(
  CliCommand.withDescription(
    "Stores the events of an export in the order of its lines. Events that are stored already are skipped, so an " +
      "import that was cut off is simply run again. The tables have to be there: start the program once on a new database."
  )
)

/** The file does not go on where the database ends, or has other events at the same versions. */
const misfit = ({ actual, expected, stream }: VersionConflict, first: number, last: number): CliError => {
  const name = streamText(stream)
  const kept = `The batch of events ${first} to ${last} of the file was not stored, and those before were`
  if (expected._tag === "Exact" && expected.version > actual) {
    return new CliError({
      detail: `the next event of ${name} in the file is of version ${expected.version + 1}, and the database has its ` +
        `events up to version ${actual}: events are missing between them, so export from the beginning, without --after. ` +
        kept
    })
  }
  return new CliError({
    detail: `the database has other events of ${name}, which is at version ${actual}: the file goes on elsewhere. ` +
      `${kept}. Import into a database without the stream`
  })
}

const linesOf = (file: string) =>
  Effect.map(FileSystem, (fs) =>
    fs.stream(file).pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.mapError((cause) => new CliError({ detail: `the file cannot be read: ${cause.message}` })),
      Stream.zipWithIndex,
      Stream.filter(([line]) => line.trim() !== ""),
      Stream.mapEffect(([line, index]) => eventOf(line, index + 1))
    ))

const decodeJson = Schema.decodeUnknownOption(Schema.parseJson())

const decodeLine = Schema.decodeUnknownOption(Line)

const eventOf = (line: string, number: number): Effect.Effect<ImportedEvent, CliError> =>
  Option.match(decodeLine(line), {
    onNone: () =>
      new CliError({
        detail: Option.isNone(decodeJson(line))
          ? `line ${number} is not whole JSON: the file was cut off there, or changed`
          : `line ${number} is not an event: it needs the keys stream, type and payload, as export writes them`
      }),
    onSome: (event) => {
      const problem = isMarker(event.type) ? importProblem(event) : undefined
      return problem === undefined
        ? Effect.succeed(event)
        : new CliError({ detail: `line ${number} cannot be stored: ${problem}` })
    }
  })
