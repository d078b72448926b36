// Drops parked events. Those of a stream go together: without the first of them the others must not be handled.
// Cost: one statement if nothing is parked, else one for each stream with old events.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { CheckpointStore, CheckpointStoreError } from "../../CheckpointStore.js"
import * as Position from "../../Position.js"
import type { Key } from "../projection/model.js"
import type { Policies } from "./model.js"
import * as Steps from "./steps.js"

export const drop = (
  { checkpoints }: Steps.Stores,
  { olderThan }: NonNullable<Policies["parked"]>,
  steps: Steps.Steps
): Effect.Effect<{ readonly removed: number }, CheckpointStoreError> =>
  Effect.gen(function*() {
    const before = yield* Steps.timeBefore(olderThan)
    let removed = 0
    for (const { name, parked, version } of yield* checkpoints.list) {
      if (parked > 0) removed += yield* dropOf(checkpoints, { name, version }, before, steps)
    }
    return { removed }
  })

const dropOf = (
  checkpoints: CheckpointStore["Type"],
  key: Key,
  before: number,
  { done, limit }: Steps.Steps
): Effect.Effect<number, CheckpointStoreError> =>
  Effect.gen(function*() {
    const seen = new Set<string>()
    let after = Position.start
    let removed = 0
    let step = 0
    while (true) {
      const page = yield* checkpoints.parked(key, { after, limit: pageSize })
      for (const { position, stream, time } of page) {
        after = position
        if (time >= before || seen.has(stream)) continue
        seen.add(stream)
        step += yield* dropStream(checkpoints, key, stream, before)
        if (step < limit) continue
        removed += step
        yield* done(step, true)
        step = 0
      }
      if (page.length < pageSize) break
    }
    if (step > 0) yield* done(step, false)
    return removed + step
  })

const pageSize = 500

/** Drops the parked events of a stream in one transaction, if all of them are old. */
const dropStream = (
  checkpoints: CheckpointStore["Type"],
  key: Key,
  stream: string,
  before: number
): Effect.Effect<number, CheckpointStoreError> =>
  Effect.gen(function*() {
    const positions: Array<Position.Position> = []
    let after = Position.start
    while (true) {
      const page = yield* checkpoints.parked(key, { after, limit: pageSize, stream })
      for (const { position, time } of page) {
        if (time >= before) return 0
        positions.push(position)
        after = position
      }
      if (page.length < pageSize) break
    }
    if (positions.length === 0) return 0
    // `None`: another process has handled or dropped some of them
    const dropped = yield* checkpoints.unpark(key, positions, Effect.void)
    return Option.isSome(dropped) ? positions.length : 0
  })
