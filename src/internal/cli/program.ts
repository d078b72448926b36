// The command line: its commands, and how their failures end the process.
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { deleting } from "./commands/delete.js"
import { doctor } from "./commands/doctor.js"
import { erase } from "./commands/erase.js"
import { events } from "./commands/events.js"
import { inspect } from "./commands/inspect.js"
import { drop, parked, resume } from "./commands/parked.js"
import { prune } from "./commands/prune.js"
import { rebuild } from "./commands/rebuild.js"
import { retention } from "./commands/retention.js"
import { retry } from "./commands/retry.js"
import { snapshots } from "./commands/snapshots.js"
import { state } from "./commands/state.js"
import { streams } from "./commands/streams.js"
import { subscriptions } from "./commands/subscriptions.js"
import { tail } from "./commands/tail.js"
import { trace } from "./commands/trace.js"
import { exporting, importing } from "./commands/transfer.js"
import { truncate } from "./commands/truncate.js"
import { verify } from "./commands/verify.js"
import { CliError, NotInOrder } from "./errors.js"
import * as Output from "./output.js"

const root = Command.make("effect-eventsourcing").pipe(
  Command.withDescription(
    "Looks into the event store of a database, and operates it. Nothing is changed without a question or --yes."
  ),
  Command.withSubcommands([
    streams,
    events,
    state,
    tail,
    trace,
    snapshots,
    verify,
    subscriptions,
    parked,
    retry,
    resume,
    drop,
    rebuild,
    prune,
    retention,
    deleting,
    truncate,
    erase,
    exporting,
    importing,
    doctor,
    inspect
  ])
)

const cli = (version: string) => Command.run(root, { name: "effect-eventsourcing", version })

/** Runs the command of `argv`, and returns the exit code. */
export const run = (argv: ReadonlyArray<string>, version: string) =>
  cli(version)(argv).pipe(
    Effect.as(0),
    Effect.catchAll((error) =>
      // the library of the command line has printed its own errors
      ValidationError.isValidationError(error)
        ? Effect.as(hintAt(error, argv), 2)
        : Effect.as(Output.hint(`effect-eventsourcing: ${messageOf(error)}`), 1)
    ),
    Effect.provide(CliConfig.layer({ showBuiltIns: false })),
    // the output is for programs
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
  )

/**
 * The library does not name the variable that an option falls back to, and finds none of the options after one that it
 * does not know.
 */
const hintAt = (error: ValidationError.ValidationError, argv: ReadonlyArray<string>): Effect.Effect<void> => {
  if (error._tag !== "MissingValue" || !HelpDoc.toAnsiText(error.error).includes("'--url'")) return Effect.void
  const isGiven = argv.some((arg) => arg === "--url" || arg.startsWith("--url="))
  return Output.hint(
    isGiven ? "An option before --url is unknown: see --help." : "Give --url, or set the variable DATABASE_URL."
  )
}

const messageOf = (error: { readonly _tag: string; readonly message: string }): string =>
  error instanceof CliError || error instanceof NotInOrder ? error.message : `${error._tag}: ${error.message}`
