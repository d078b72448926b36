// Checks the policies and the options. What is valid has its defaults afterwards.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Aggregate from "../../Aggregate.js"
import type { InvalidOption } from "../../InvalidOption.js"
import {
  finiteDurationProblem,
  isRecord,
  optionProblem,
  recordProblem,
  unless,
  waitProblem,
  wholeFromOne
} from "../options.js"
import { keyProblem, quote } from "../text.js"
import type { Options, Policies, Policy, Progress } from "./model.js"

/** The options with their defaults. */
export interface Settings {
  readonly limit: number
  readonly pause: Duration.Duration
  readonly onProgress: (progress: Progress) => Effect.Effect<void>
}

/** The names of the options, to which a layer adds its own. */
export const known: ReadonlyArray<string> = ["limit", "pause", "onProgress"]

export const check = (
  policies: Policies,
  options: Options | undefined,
  more: ReadonlyArray<string>
): Effect.Effect<Settings, InvalidOption> => {
  const problem = policiesProblem(policies) ?? optionsProblem(options, more)
  if (problem !== undefined) return problem
  const { limit = 500, onProgress = () => Effect.void, pause = "50 millis" } = options ?? {}
  return Effect.succeed({ limit, onProgress, pause: Duration.decode(pause) })
}

const policiesProblem = (policies: Policies): InvalidOption | undefined => {
  const given: unknown = policies
  if (!isRecord(given)) return optionProblem("policies", given, `a record with ${names.join(", ")}`)
  const { archives, parked, snapshots, tombstones } = policies
  return recordProblem("policies", given, names) ?? snapshotsProblem(snapshots) ??
    ageProblem("tombstones", tombstones, ["olderThan"]) ?? ageProblem("parked", parked, ["olderThan"]) ??
    archivesProblem(archives)
}

const names = ["snapshots", "tombstones", "parked", "archives"]

const archivesProblem = (policy: Policies["archives"]): InvalidOption | undefined => {
  const problem = ageProblem("archives", policy, ["aggregates", "olderThan"])
  if (problem !== undefined || policy === undefined) return problem
  const aggregates: unknown = policy.aggregates
  return unless(
    Array.isArray(aggregates) && aggregates.every(isWhole),
    "archives.aggregates",
    aggregates,
    "an array of aggregates from Aggregate.make"
  )
}

/** An aggregate that can be replayed, whatever its types are. */
export const isWhole = (
  value: unknown
): value is Aggregate.Aggregate<string, unknown, unknown, unknown, unknown, unknown> =>
  Predicate.hasProperty(value, Aggregate.TypeId) && "migrations" in value && "decide" in value && isAggregate(value)

const snapshotsProblem = (policy: Policies["snapshots"]): InvalidOption | undefined => {
  if (policy === undefined) return undefined
  const problem = recordProblem("snapshots", policy, ["aggregates"])
  if (problem !== undefined) return problem
  const aggregates: unknown = policy.aggregates
  return unless(
    Array.isArray(aggregates) && aggregates.every(isAggregate),
    "snapshots.aggregates",
    aggregates,
    "an array of aggregates, each with a name and a schemaVersion"
  )
}

const isAggregate = (value: unknown): boolean => {
  const name: unknown = Reflect.get(Object(value), "name")
  return typeof name === "string" && keyProblem(name, maxNameBytes) === undefined &&
    Number.isSafeInteger(Reflect.get(Object(value), "schemaVersion"))
}

const maxNameBytes = 255

/** A day is longer than a process works on with a state that it has not compared with the stream. */
const leastAge = Duration.days(1)

const ageProblem = (
  policy: Policy,
  value: Policies["tombstones"],
  known: ReadonlyArray<string>
): InvalidOption | undefined => {
  if (value === undefined) return undefined
  const problem = recordProblem(policy, value, known)
  if (problem !== undefined) return problem
  const option = `${policy}.olderThan`
  const { olderThan } = value
  const isLong = olderThan !== undefined && finiteDurationProblem(option, olderThan) === undefined &&
    Duration.greaterThanOrEqualTo(olderThan, leastAge)
  return isLong ? undefined : optionProblem(option, shown(olderThan), "a finite duration of at least 1 day")
}

/** A number is a number of milliseconds. */
const shown = (value: unknown): unknown => Duration.isDuration(value) ? Duration.format(value) : value

const optionsProblem = (options: Options | undefined, more: ReadonlyArray<string>): InvalidOption | undefined =>
  recordProblem("options of Retention", options, [...known, ...more]) ??
    wholeFromOne("limit", options?.limit) ??
    unless((options?.limit ?? 1) <= mostRows, "limit", options?.limit, `a whole number from 1 to ${mostRows}`) ??
    (options?.pause === undefined ? undefined : waitProblem("pause", options.pause)) ??
    (options?.onProgress === undefined || typeof options.onProgress === "function"
      ? undefined
      : optionProblem("onProgress", quote(options.onProgress), "a function that returns an Effect"))

/** A step is one statement, which holds locks until its end. */
const mostRows = 100_000
