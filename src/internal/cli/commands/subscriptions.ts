import * as CliArgs from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Projections from "../../../Projections.js"
import * as Command from "../command.js"
import { NotInOrder } from "../errors.js"
import * as Health from "../health.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as Subscription from "../subscription.js"

export const subscriptions = CliCommand.make(
  "subscriptions",
  {
    ...Options.shared,
    name: Subscription.key.name.pipe(CliArgs.optional),
    check: CliOptions.boolean("check").pipe(CliOptions.withDescription("Fails unless all of them are healthy"))
  },
  Command.reading(({ check, json, name }) =>
    Effect.gen(function*() {
      const all = yield* Projections.status(Option.getOrUndefined(name))
      yield* json
        ? Output.rows(json, yield* Effect.orDie(Schema.encode(Schema.Array(Projections.Status))(all)), "")
        : Output.rows(json, all.flatMap(partitionRows), "no subscriptions")
      if (check && all.length === 0 && Option.isSome(name)) {
        return yield* new NotInOrder({ detail: "no process has registered this name: start its layer, or correct it" })
      }
      const unhealthy = all.filter(Health.isUnhealthy)
      if (check && unhealthy.length > 0) {
        return yield* new NotInOrder({ detail: `not in order: ${unhealthy.map(Health.describe).join("; ")}` })
      }
    })
  )
).pipe(
  CliCommand.withDescription(
    "Shows projections and subscriptions: their lag, owners, stopped partitions and parked events. With " +
      "--check it fails if an active one has no owner, is stopped or has parked events."
  )
)

const partitionRows = (status: Projections.Status): ReadonlyArray<Output.Row> =>
  status.partitions.map(({ handled, index, lag, of, owner, stopped }) => ({
    name: status.name,
    version: status.version,
    kind: status.kind,
    active: status.active ? "yes" : "no",
    partition: `${index + 1}/${of}`,
    behind: `${lag.events}${lag.isMore ? "+" : ""}`,
    seconds: Math.round(lag.millis / 1_000),
    handled,
    parked: status.parked,
    owner: Option.getOrElse(owner, () => "none"),
    stopped: Option.map(stopped, ({ reason }) => reason)
  }))
