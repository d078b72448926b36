import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Retention from "../../../Retention.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as Module from "../module.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

const age = (name: string, what: string) =>
  CliOptions.text(name).pipe(
    CliOptions.withDescription(`Removes ${what}. An age is a text such as "30 days", and at least 1 day`),
    CliOptions.optional
  )

export const retention = CliCommand.make(
  "retention",
  {
    ...Options.shared,
    ...Options.keys,
    tombstones: age("tombstones", "what is left of streams that were deleted longer ago than this age"),
    parked: age("parked", "the parked events of a stream if the last of them was parked longer ago than this age"),
    archives: age("archives", "the contents of the module's aggregates that were archived longer ago than this age"),
    snapshots: CliOptions.boolean("snapshots").pipe(
      CliOptions.withDescription(
        "Removes snapshots of schema versions below those of the aggregates in your module: see prune"
      )
    ),
    module: Options.module.pipe(CliOptions.optional),
    ...Confirm.options
  },
  Command.opening(({ archives, json, module, parked, snapshots, tombstones, yes }) =>
    Effect.gen(function*() {
      const ofModule = snapshots || Option.isSome(archives)
      if (ofModule && Option.isNone(module)) {
        return yield* new CliError({ detail: "--snapshots and --archives need --module, which has the aggregates" })
      }
      if (!ofModule && Option.isSome(module)) {
        return yield* new CliError({
          detail: "--module is for --snapshots and --archives: give one of them, or leave it out"
        })
      }
      const aggregates = Option.isNone(module) ? [] : [...(yield* Module.aggregates(module.value)).values()]
      const old = yield* olderThan("--archives", archives)
      const policies: Retention.Policies = {
        snapshots: snapshots ? { aggregates } : undefined,
        tombstones: yield* olderThan("--tombstones", tombstones),
        parked: yield* olderThan("--parked", parked),
        archives: old && { ...old, aggregates }
      }
      const chosen = Object.entries(policies).flatMap(([policy, value]) => value === undefined ? [] : [policy])
      if (chosen.length === 0) {
        return yield* new CliError({
          detail: "give at least one of --tombstones, --parked, --archives and --snapshots"
        })
      }
      if (!(yield* Confirm.ask(`make a pass over ${chosen.join(", ")}`, yes))) {
        return yield* Output.record(json, { done: false })
      }
      const report = yield* Retention.run(policies, {
        onProgress: ({ policy, total }) => Output.progress(`${policy}: ${total} rows removed`)
      })
      yield* Output.record(json, { done: true, ...report })
    }), () => true)
).pipe(
  CliCommand.withDescription(
    "Makes one pass of Retention: removes old snapshots, deleted streams, parked events and archives in small steps. A " +
      "pass that was cut off is simply run again."
  )
)

const olderThan = (option: string, text: Option.Option<string>) =>
  Option.match(text, {
    onNone: () => Effect.succeed(undefined),
    onSome: (text) =>
      Option.match(Duration.decodeUnknown(text), {
        onNone: () => new CliError({ detail: `${option} is a time such as "30 days" or "36 hours"` }),
        onSome: (olderThan) => Effect.succeed({ olderThan })
      })
  })
