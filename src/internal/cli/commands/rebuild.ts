import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Projections from "../../../Projections.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const rebuild = CliCommand.make(
  "rebuild",
  {
    ...Options.shared,
    name: Options.argument("NAME"),
    version: CliOptions.integer("to-version").pipe(CliOptions.withDescription("The new version")),
    ...Confirm.options
  },
  Command.writing(({ json, name, version, yes }) =>
    Effect.gen(function*() {
      yield* Effect.repeat(look(name, version), {
        schedule: Schedule.spaced("1 second"),
        until: (remaining) => remaining < 1_000
      })
      const isSure = yield* Confirm.ask(`make version ${version} of ${name} the active one`, yes)
      if (isSure) yield* Projections.promote({ name, version })
      yield* Output.record(json, { name, version, promoted: isSure })
    })
  )
).pipe(
  CliCommand.withDescription(
    "Follows a new version of a projection until it has caught up, and makes it the active one. A process " +
      "of the program must run the version. A swap of tables is the program's: see Projections.promote."
  )
)

const look = (name: string, version: number) =>
  Effect.gen(function*() {
    const found = (yield* Projections.status(name)).find((status) => status.version === version)
    if (found === undefined) {
      return yield* new CliError({ detail: "no process has registered this version yet: start the program with it" })
    }
    const stopped = found.partitions.flatMap(({ stopped }) => Option.toArray(stopped))
    if (stopped.length > 0) return yield* new CliError({ detail: `the version is stopped: ${stopped[0].reason}` })
    const { rate, remaining } = found.progress
    const speed = Option.match(rate, { onNone: () => "", onSome: (rate) => `, ${Math.round(rate)} a second` })
    yield* Output.hint(`${remaining} events left${speed}`)
    return remaining
  })
