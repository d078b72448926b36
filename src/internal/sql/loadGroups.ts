// Sends each load alone, or with those of other fibers. Why: docs/decisions/0114-grouped-loads.md.
// Mechanism: a load that finds a free lane is sent alone and at once. Loads that have to wait are sent in one statement,
// after they were asked for, so that each sees what was acknowledged before it. A load whose rows do not fit into a group
// is sent alone, and so is each load of a group that failed.
// Cost: an entry in a set for a load that finds a free lane.
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Groups } from "./append.js"
import type { StoreClient } from "./client.js"
import type { LoadGroup, LoadOptions, LoadStatements } from "./dialect.js"
import { isUnreachable } from "./failure.js"
import * as Grouping from "./grouping.js"
import * as Lanes from "./lanes.js"

type Rows = ReadonlyArray<ReadonlyArray<unknown>>

/** Sends a load, and gives the rows of its statement. */
export interface Send {
  (options: LoadOptions): Effect.Effect<Rows, SqlError>
}

export const make = (client: StoreClient, { group, one }: LoadStatements, groups: Groups): Send => {
  const { executeValues, mayShare } = client
  const alone: Send = (options) => executeValues(one(options))
  if (group === undefined || groups === "alone") return alone
  const forced = groups === "forced"
  const send = sendGroup(client, group)
  const { run } = Lanes.make<LoadOptions, Rows, SqlError>({
    capacity: mostLoads,
    weigh,
    send: forced ? send : Grouping.unlessOne(send, alone),
    ...Lanes.limits(forced)
  })
  return (options) =>
    Effect.withFiberRuntime((fiber) => mayShare(fiber) ? run(options, alone(options)) : alone(options))
}

const mostLoads = 64

// a group gives the schemas of each load as lines
const weigh = ({ migratable = [] }: LoadOptions): number =>
  migratable.some(({ fingerprint }) => fingerprint.includes("\n")) ? Infinity : 1

// without a connection each load would wait for a connection once more
const sendGroup = (
  { executeValues }: StoreClient,
  group: LoadGroup
) =>
(loads: ReadonlyArray<LoadOptions>): ReturnType<Grouping.Options<LoadOptions, Rows, SqlError>["send"]> =>
  executeValues(group.query(loads)).pipe(
    Effect.map((rows) => group.split(rows, loads)),
    Effect.catchAll((error) => isUnreachable(error) ? Effect.fail(error) : Effect.succeed([]))
  )
