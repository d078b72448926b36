import * as CliCommand from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { EventStore } from "../../../EventStore.js"
import * as Projections from "../../../Projections.js"
import * as Diagnosis from "../../sql/diagnosis.js"
import * as Command from "../command.js"
import { NotInOrder } from "../errors.js"
import * as Health from "../health.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const doctor = CliCommand.make(
  "doctor",
  Options.shared,
  Command.reading(({ json, prefix }) =>
    Effect.gen(function*() {
      const store = yield* EventStore
      const head = yield* store.head
      const subscriptions = yield* Projections.status()
      const newer = yield* Diagnosis.newerBy({ prefix })
      const findings = [
        // the layers checked them before this command began
        { check: "tables", ok: true, detail: "they are those of this version, with their columns and unique indexes" },
        ...newer === 0 ? [] : [{
          check: "version",
          ok: false,
          detail: `the tables have ${newer} changes of a newer version: use the command line of the program's version`
        }],
        { check: "head", ok: true, detail: head },
        ...yield* Diagnosis.run({ prefix }),
        ...subscriptions.map((status) => ({
          check: `subscription ${status.name} ${status.version}`,
          // the program need not run during a check of the database
          ok: status.partitions.every(({ stopped }) => stopped._tag === "None"),
          detail: [Health.behind(status), ...Health.troubles(status)].join(", ")
        }))
      ]
      yield* Output.rows(
        json,
        findings.map(({ check, detail, ok }) => ({ check, ok: json ? ok : ok ? "ok" : "NOT OK", detail })),
        ""
      )
      const bad = findings.filter(({ ok }) => !ok)
      if (bad.length > 0) {
        return yield* new NotInOrder({ detail: `not in order: ${bad.map(({ check }) => check).join(", ")}` })
      }
    })
  )
).pipe(
  CliCommand.withDescription(
    "Checks the tables, their indexes, the rights of the user and the settings of the database, and tells " +
      "which transaction holds the feed back. Fails if something is not in order."
  )
)
