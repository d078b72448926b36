// Holds partitions, each by a statement of its own: see ../projection/holding.ts.
import * as Effect from "effect/Effect"
import type * as Position from "../../Position.js"
import { elapsedMillis } from "../elapsed.js"
import * as Holding from "../projection/holding.js"
import type { Key } from "../projection/model.js"
import type { CheckpointStoreError } from "../projection/storeErrors.js"
import { later } from "../store/later.js"
import * as Rows from "./checkpointRows.js"
import { failure, type Services } from "./checkpoints.js"
import { isLockTimeout } from "./failure.js"

export const hold = (
  services: Services,
  keys: ReadonlyArray<Key>,
  ttl: number
): Effect.Effect<Position.Position, CheckpointStoreError> =>
  Effect.gen(function*() {
    const { client: { execute, repeat }, statements } = services
    const begun = yield* elapsedMillis
    for (let looks = 1;; looks++) {
      const partitions = (yield* repeat(execute(statements.holds(keys)))).map(Rows.heldPartition)
      const at = Holding.target(partitions)
      const wanted = Holding.toHold(partitions, at, ttl)
      if (wanted.length === 0 || looks > Holding.maxLooks) return at
      let highest = at
      for (const partition of wanted) {
        if ((yield* elapsedMillis) - begun > Holding.patience) return highest
        highest = later(highest, yield* holdOne(services, partition, highest, ttl))
      }
    }
  }).pipe(Effect.mapError(failure("hold", keys.at(0)?.name)))

/** Gives the position at which the partition is held now. It is left as it is if its batch takes too long. */
const holdOne = (
  { client: { attemptBriefly, execute }, statements }: Services,
  partition: Rows.HeldPartition,
  at: Position.Position,
  ttl: number
) =>
  attemptBriefly(execute(statements.hold(partition, at, ttl))).pipe(
    // no row: the number of partitions has changed, which the next look sees
    Effect.map((rows) => rows.length === 0 ? at : Rows.position({ position: rows[0].hold })),
    Effect.catchIf(isLockTimeout, () => Effect.succeed(at))
  )
