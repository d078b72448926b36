// Tells what is not in order with a projection or a subscription.
import * as Option from "effect/Option"
import type * as Projections from "../../Projections.js"
import * as Output from "./output.js"

/** Whether `subscriptions --check` fails. A version that is not active has no readers. */
export const isUnhealthy = (status: Projections.Status): boolean => status.active && troubles(status).length > 0

/** Its name with its troubles, and how far it is behind. */
export const describe = (status: Projections.Status): string =>
  `${status.name} ${status.version} (${[...troubles(status), behind(status)].join(", ")})`

export const troubles = ({ parked, partitions }: Projections.Status): ReadonlyArray<string> => {
  const of = (count: number) => partitions.length === 1 ? "" : ` of ${count} of ${partitions.length} partitions`
  const stopped = partitions.filter((partition) => Option.isSome(partition.stopped)).length
  const orphaned = partitions.filter((partition) => Option.isNone(partition.owner)).length
  return [
    ...stopped > 0 ? [`stopped${of(stopped)}`] : [],
    ...orphaned > 0 ? [`no owner${of(orphaned)}`] : [],
    ...parked > 0 ? [Output.counted(parked, "parked event")] : []
  ]
}

export const behind = ({ progress }: Projections.Status): string =>
  `${Output.counted(progress.remaining, "event")} behind`
