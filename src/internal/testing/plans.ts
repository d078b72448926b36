import { PCGRandom } from "effect/Utils"
import { InvalidOption } from "../../InvalidOption.js"
import { orThrow, unless, wholeProblem } from "../options.js"

/** Decides which calls meet a fault. Every store, or client, that is built with a plan starts it once. */
export interface Plan<in Call, out Fault> {
  readonly start: () => (call: Call) => Fault | undefined
}

export const none: Plan<unknown, never> = { start: () => () => undefined }

export const when = <Call, Fault>(predicate: (call: Call) => boolean, fault: Fault): Plan<Call, Fault> => ({
  start: () => (call) => predicate(call) ? fault : undefined
})

export interface Seeded<out Fault> {
  /** A whole number. */
  readonly seed: number
  /** From 0 to 1. */
  readonly rate: number
  /** At least one. */
  readonly faults: ReadonlyArray<Fault>
}

/**
 * Picks calls and faults at random. Each call for which `isEligible` is true takes the next two numbers of the seed.
 */
export const seeded = <Call, Fault>(
  name: string,
  { faults, rate, seed }: Seeded<Fault>,
  isEligible: (call: Call) => boolean
): Plan<Call, Fault> => {
  orThrow(wholeProblem(`${name} seed`, seed))
  orThrow(unless(rate >= 0 && rate <= 1, `${name} rate`, rate, "a number from 0 to 1"))
  if (faults.length === 0) {
    throw new InvalidOption({ option: `${name} faults`, value: "[]", expected: "one fault or more" })
  }
  return {
    start: () => {
      const random = new PCGRandom(seed)
      return (call) => {
        if (!isEligible(call)) return undefined
        // always two numbers, so that the fault of one call does not depend on the faults of others
        const drawn = random.number()
        const which = Math.floor(random.number() * faults.length)
        return drawn < rate ? faults[which] : undefined
      }
    }
  }
}
