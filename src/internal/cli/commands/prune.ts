import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import { SnapshotStore } from "../../../SnapshotStore.js"
import * as Command from "../command.js"
import * as Confirm from "../confirm.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const prune = CliCommand.make(
  "prune",
  {
    ...Options.shared,
    aggregate: CliOptions.text("aggregate").pipe(CliOptions.withDescription("The name of the aggregate")),
    below: CliOptions.integer("below").pipe(
      CliOptions.withDescription("Deletes those of schema versions below this one")
    ),
    ...Confirm.options
  },
  Command.writing(({ aggregate, below, json, yes }) =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore
      const count = yield* store.deleteByType(aggregate, { schemaVersionBelow: below, dryRun: true })
      const isSure = yield* Confirm.ask(`delete ${Output.counted(count, "snapshot")}`, yes)
      if (isSure) yield* store.deleteByType(aggregate, { schemaVersionBelow: below })
      yield* Output.record(json, { snapshots: count, deleted: isSure })
    })
  )
).pipe(
  CliCommand.withDescription(
    "Deletes the snapshots of an aggregate that older versions of its state schema took. It leaves those that are the " +
      "only source of a state, because the beginning of their stream was removed."
  )
)
