import type { Aggregate } from "effect-eventsourcing"
import { AggregateLaws } from "effect-eventsourcing/testing"
import { assert } from "vitest"
import * as Laws from "../../src/internal/laws/laws.js"
import { subjectOf } from "../../src/internal/laws/subject.js"
import { defaultLimits, type Limits } from "../../src/internal/laws/timeLimit.js"

/** Collects the failures of the laws that are broken, by the name of the law. */
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

/** Makes laws with shorter time limits: code that never returns is stopped after a tenth of a second. */
export const lawsWithin =
  (limits: Partial<Limits> = { values: 100, history: 100 }) =>
  <Name extends string, Id, State, Event, Command, Rejection>(
    aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>,
    options: AggregateLaws.Options<NoInfer<Id>, NoInfer<State>, NoInfer<Event>, NoInfer<Command>> = {}
  ): ReadonlyArray<AggregateLaws.Law> =>
    Laws.make(subjectOf(aggregate), options, lawsWithin, { ...defaultLimits, ...limits })

/** A time that passes only when it is told to. */
export const virtualTime = () => {
  let time = 0
  return {
    pass: (millis: number) => {
      time += millis
    },
    stopwatch: () => {
      const started = time
      return () => time - started
    }
  }
}
