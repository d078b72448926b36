import * as Either from "effect/Either"
import { messageOf } from "./code.js"
import { differences, same } from "./difference.js"
import type { FakeGlobals } from "./fakeGlobals.js"
import { isMutation, type Tracker } from "./mutation.js"
import { apart, type Evidence, type Law, type Line, type Problem, text, thrown, valueOf, where } from "./report.js"
import { TookTooLong } from "./timeLimit.js"

/** The findings of one history, and the services that the checks share. */
export interface Checks {
  readonly laws: ReadonlyArray<Law>
  /** The first violation of each law. */
  readonly problems: Map<Law, Problem>
  /** Filled step by step, so that it can be read after a check that never returned. */
  readonly log: Array<Line>
  readonly globals: FakeGlobals
  readonly mutations: Tracker
  /** The calls that are repeated at the end. */
  readonly calls: Array<Call>
  /** Turns false when the history has taken too long. The rest of it is skipped then. */
  readonly inTime: () => boolean
  /** Called with the name of the function that is about to run. The report of a timeout names it. */
  readonly onCall: (what: string) => void
}

interface Call {
  readonly name: string
  readonly body: () => unknown
  readonly value: unknown
  readonly fields: ReadonlySet<PropertyKey>
  readonly lines: number
}

/** Notes a broken law, unless an earlier step broke the same one. False, as the history cannot continue. */
export const violate = (
  { laws, log, problems }: Checks,
  law: Law,
  text: string,
  evidence: ReadonlyArray<Evidence>,
  hint?: string,
  lines: number = log.length
): false => {
  if (laws.includes(law) && !problems.has(law)) problems.set(law, { law, text, evidence, hint, lines })
  return false
}

export const attempt = <A>(body: () => A): Either.Either<A, unknown> => {
  try {
    return Either.right(body())
  } catch (error) {
    if (error instanceof TookTooLong) throw error
    return Either.left(error)
  }
}

/**
 * Calls a function of the aggregate and checks that it returns, leaves its inputs alone, and reads neither the clock
 * nor random numbers. `undefined`: the history cannot continue.
 */
export const call = <A>(
  checks: Checks,
  name: "initial" | "decide" | "evolve",
  inputs: Readonly<Record<string, unknown>>,
  fields: ReadonlySet<PropertyKey>,
  body: () => A
): { readonly value: A } | undefined => {
  const { calls, globals, laws, log, mutations, onCall, problems } = checks
  onCall(name)
  Object.values(inputs).forEach(mutations.freeze)
  const before = mutations.copy(inputs)
  const watched = laws.includes("pure") && !problems.has("pure")
  const result = attempt(() => watched ? globals.watch(body) : { value: globals.run(0, body), reading: undefined })
  const changes = differences(before, inputs)
  if (changes.length > 0) {
    const evidence = [apart(changes, "before", "after"), ...(Either.isLeft(result) ? where(result.left) : [])]
    violate(checks, "pure", `${name} changes its input.`, evidence, mutationHint)
    const value = Either.isRight(result) ? result.right.value : undefined
    if (name === "decide" && Either.isEither(value) && Either.isLeft(value)) {
      violate(checks, "rejections", "decide rejects the command and changes the state.", evidence, mutationHint)
    }
    return undefined
  }
  if (Either.isLeft(result)) {
    const { left: error } = result
    if (isMutation(error)) {
      const evidence = [text("the write failed", messageOf(error)), ...where(error)]
      violate(checks, "pure", `${name} changes its input.`, evidence, mutationHint)
    } else {
      violate(checks, "total", `${name} throws.`, thrown(error))
    }
    return undefined
  }
  const { reading, value } = result.right
  if (reading !== undefined) {
    const { source, what } = reading
    violate(checks, "pure", `${name} reads ${what}: it calls ${source}.`, where(reading), readingHint(name))
  } else if (watched) {
    calls.push({ name, body, value, fields, lines: log.length })
  }
  return { value }
}

const mutationHint = "Build a new value and leave the old one as it is: other code still holds it."

const readingHint = (name: string): string =>
  (name === "decide"
    ? "When a command loses a race and is decided again, the same command on the same state may be decided differently. "
    : "A replay of the same events may give another state. ") +
  "Let the caller put the time, or the new id, into the command, and the decision into the event."

/**
 * Repeats the calls of a history at another time, with other random numbers and in another time zone, and compares the
 * results.
 */
export const repeatCalls = (checks: Checks): void => {
  const { calls, globals, inTime, onCall } = checks
  const different = globals.elsewhere(() => {
    for (const called of calls) {
      if (!inTime()) return undefined
      onCall(called.name)
      const second = attempt(() => globals.run(1, called.body))
      const isSame = Either.isRight(second) && same(called.value, second.right, called.fields)
      if (!isSame) return { ...called, second }
    }
    return undefined
  })
  if (different === undefined) return
  const { body, fields, lines, name, second, value } = different
  const home = attempt(() => globals.run(0, body))
  const isLocal = Either.isRight(home) && same(value, home.right, fields)
  const evidence = Either.isLeft(second) ? thrown(second.left) : [
    valueOf("first", value),
    valueOf("second", second.right),
    apart(differences(value, second.right, fields), "first", "second")
  ]
  const broken = (text: string, hint: string) => violate(checks, "pure", text, evidence, hint, lines)
  if (isLocal) {
    broken(
      `${name} gives another result in another time zone: it reads or writes a local time of the machine.`,
      "Use functions that do not depend on the zone (getUTCHours, toISOString, Date.UTC), or keep the zone in the state."
    )
  } else if (Either.isLeft(second)) {
    broken(
      `${name}, called twice with the same input, throws the second time.`,
      "It keeps something between calls. Everything it depends on must be in its arguments."
    )
  } else {
    broken(
      `${name}, called twice with the same input, gives two different results.`,
      "It depends on something besides its arguments: a counter, a cache, a generator of ids, the clock."
    )
  }
}
