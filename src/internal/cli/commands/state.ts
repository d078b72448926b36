import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Command from "../command.js"
import { CliError } from "../errors.js"
import * as Module from "../module.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as Repository from "../repository.js"

export const state = CliCommand.make(
  "state",
  {
    ...Options.shared,
    ...Options.keys,
    stream: Options.stream,
    at: CliOptions.text("at").pipe(
      CliOptions.withDescription("A version, or a time such as 2026-01-31T12:00:00Z"),
      CliOptions.optional
    ),
    module: Options.module
  },
  Command.opening(({ at, json, module, stream: text }) =>
    Effect.scoped(Effect.gen(function*() {
      const stream = yield* Options.streamOf(text)
      const repository = yield* Repository.make(yield* Module.aggregate(module, stream.aggregate))
      const point = Option.isNone(at) ? undefined : yield* pointOf(at.value)
      const loaded = yield* Effect.catchTag(
        repository.load(stream.id, point),
        "VersionNotReached",
        ({ head, version }) =>
          new CliError({
            detail: `--at is ${version}, and ${text} is at version ${head}: give a version up to that one`
          })
      )
      yield* Output.record(json, {
        stream: text,
        version: loaded.version,
        exists: loaded.exists,
        lastEventTime: loaded.lastEventTime,
        snapshotVersion: loaded.snapshotVersion,
        replayed: loaded.replayed,
        state: loaded.state
      })
    }))
  )
).pipe(
  CliCommand.withDescription("Prints the state of a stream: now, at a version, or at a time.")
)

const pointOf = (text: string): Effect.Effect<number | DateTime.Utc, CliError> => {
  if (/^\d{1,15}$/.test(text)) return Effect.succeed(Number(text))
  return Option.match(isTime(text) ? DateTime.make(text) : Option.none(), {
    onNone: () =>
      new CliError({
        detail: "--at is a version, which is a whole number from 0 on, or a time such as 2026-01-31T12:00:00Z"
      }),
    onSome: (time) => Effect.succeed(DateTime.toUtc(time))
  })
}

const isoTime = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/

/** JavaScript reads most texts as a date, and 31 February as a day of March. */
const isTime = (text: string): boolean => {
  const [, day = ""] = isoTime.exec(text) ?? []
  return Option.exists(DateTime.make(`${day}T00:00:00Z`), (time) => DateTime.formatIsoDateUtc(time) === day)
}
