// The policy of shares, alone: whatever the beginning, all processes end with a fair share, and none moves after that.
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, FastCheck as fc, Option } from "effect"
import { Position } from "effect-eventsourcing"
import type { Attendance } from "../../src/internal/projection/model.js"
import * as Shares from "../../src/internal/projection/shares.js"

const attendance = (owned: ReadonlyArray<string | undefined>, members: number): Attendance => ({
  members,
  wanted: owned.length,
  partitions: owned.map((owner, index) => ({
    index,
    of: owned.length,
    position: Position.start,
    handled: 0,
    owner: Option.fromNullable(owner),
    epoch: 0,
    stopped: Option.none(),
    hold: Option.none()
  }))
})

const scenario = fc.record({
  members: fc.integer({ min: 1, max: 7 }),
  owned: fc.array(fc.option(fc.nat(6), { nil: undefined }), { minLength: 1, maxLength: 12 }),
  turns: fc.infiniteStream(fc.nat(6))
})

describe("shares", () => {
  it("become fair and stay so, in any order of turns", () => {
    fc.assert(fc.property(scenario, ({ members, owned, turns }) => {
      const owners = owned.map((owner) => owner === undefined ? undefined : `p${owner % members}`)
      const turn = (owner: string): boolean => {
        const seen = attendance(owners, members)
        const surplus = Shares.toGiveBack(seen, owner)
        if (surplus !== undefined) owners[surplus] = undefined
        const [taken] = Shares.toTake(attendance(owners, members), owner, false)
        // the process that gave one back does not take it again at once
        if (surplus === undefined && taken !== undefined) owners[taken] = owner
        return surplus !== undefined || (surplus === undefined && taken !== undefined)
      }
      let next = 0
      const order = Arr.fromIterable(turns.take(members * owned.length * 6))
      for (const which of order) turn(`p${which % members}`)
      // then each in turn, so that the random order starves no process
      for (next = 0; next < members * owned.length * 4; next++) turn(`p${next % members}`)
      const sizes = Arr.makeBy(members, (i) => owners.filter((owner) => owner === `p${i}`).length)
      assert.isAtMost(Math.max(...sizes) - Math.min(...sizes), 1)
      assert.notInclude(owners, undefined)
      for (let i = 0; i < members; i++) assert.isFalse(turn(`p${i}`))
    }))
  })
})
