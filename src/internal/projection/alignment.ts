// When the number of partitions or the active version may change, and what the new partitions take over. Pure, for all drivers.
import type * as Position from "../../Position.js"
import type { Stopped } from "./model.js"

/** A partition as a driver has it. */
interface Partition {
  readonly position: Position.Position
  readonly stopped: Stopped | boolean | undefined
  readonly handled: number
  readonly epoch: number
}

/** The position of all partitions, if that is one, and none is stopped. */
export const common = (
  partitions: ReadonlyArray<Pick<Partition, "position" | "stopped">>
): Position.Position | undefined => {
  const first = partitions.at(0)?.position
  const isCommon = partitions.every(({ position, stopped }) =>
    position === first && (stopped === undefined || stopped === false)
  )
  return isCommon ? first : undefined
}

/** What the partitions after a change of their number begin with: their epoch is higher than that of any former owner. */
export const inherited = (partitions: ReadonlyArray<Pick<Partition, "handled" | "epoch">>) => ({
  handled: partitions.reduce((sum, { handled }) => sum + handled, 0),
  epoch: partitions.reduce((highest, { epoch }) => Math.max(highest, epoch), 0) + 1
})
