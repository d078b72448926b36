import { AggregateLaws } from "effect-eventsourcing/testing"
import { assert } from "vitest"

/** What each of the laws says that is broken, by its name. */
export const brokenBy = (laws: ReadonlyArray<AggregateLaws.Law>): ReadonlyMap<string, AggregateLaws.LawBroken> => {
  const broken = new Map<string, AggregateLaws.LawBroken>()
  for (const { check, name } of laws) {
    try {
      check()
    } catch (error) {
      assert.instanceOf(error, AggregateLaws.LawBroken)
      broken.set(name, error)
    }
  }
  return broken
}
