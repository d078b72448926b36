// Reads the options of projections and subscriptions.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { InvalidOption } from "../../InvalidOption.js"
import {
  finiteDurationProblem,
  optionProblem,
  recordProblem,
  scheduleProblem,
  unless,
  wholeFromOne
} from "../options.js"
import { maxPartitions } from "./limits.js"
import type { Options, Poison } from "./worker.js"

/**
 * The options that projections and subscriptions have in common.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommonOptions {
  /** The maximal number of events that are read at once. Default 1,000. */
  readonly pageSize?: number | undefined
  /**
   * The number of partitions, which several processes can share. Each stream belongs to one of them. Default 1. A
   * change takes effect without a loss when the layer is built, for all processes.
   */
  readonly partitions?: number | undefined
  /**
   * How long the lease of a partition lasts after its owner was last heard of. It is the time in which another process
   * replaces one that was killed. From 100 milliseconds to 20 days. Default 5 seconds.
   */
  readonly lease?: Duration.DurationInput | undefined
  /** The time limit of a call of the handler. At most 20 days. Default 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * How often, and with which delays, an event is tried again after its handler failed. Failures that pass by
   * themselves, such as a lost connection or a deadlock, are repeated without end and do not count. Default: three
   * times, after 100, 200 and 400 milliseconds.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * Which failures of the handler pass by themselves, besides those of the database. An error of an HTTP client may
   * be one. Default: none.
   */
  readonly isPassing?: ((error: unknown) => boolean) | undefined
  /**
   * What happens to an event that cannot be handled:
   *
   * - `stop` (default): the partition stops before the event, until `Projections.resume`.
   * - `park`: the event is set aside, and its partition continues.
   * - `parkStream`: the event and all later ones of its stream are set aside. The stream keeps its order.
   */
  readonly poison?: Poison | undefined
  /** The longest time between two looks at the feed if nothing wakes the reader. Default 1 second. */
  readonly maxDelay?: Duration.DurationInput | undefined
  /** How long a batch in progress may take to end when the layer is closed. Default 5 seconds. */
  readonly closeWithin?: Duration.DurationInput | undefined
}

const names = [
  "pageSize",
  "partitions",
  "lease",
  "timeout",
  "retry",
  "isPassing",
  "poison",
  "maxDelay",
  "closeWithin"
] as const

const poisons: ReadonlyArray<unknown> = ["stop", "park", "parkStream"]

/** Checks the options and fills in the defaults. */
export const read = (
  subject: string,
  options: CommonOptions | undefined
): Effect.Effect<
  { readonly options: Omit<Options, "personal">; readonly closeWithin: Duration.Duration },
  InvalidOption
> => {
  const given = options ?? {}
  const { closeWithin, isPassing, lease, maxDelay, pageSize, partitions, poison = "stop", retry, timeout } = given
  const name = (option: string) => `${subject} ${option}`
  const problem = recordProblem(`the options of ${subject}`, options, names) ??
    wholeFromOne(name("pageSize"), pageSize) ??
    wholeFromOne(name("partitions"), partitions) ??
    unless((partitions ?? 1) <= maxPartitions, name("partitions"), partitions, `at most ${maxPartitions}`) ??
    limitProblem(name("lease"), lease) ??
    limitProblem(name("timeout"), timeout) ??
    finiteDurationProblem(name("maxDelay"), maxDelay) ??
    finiteDurationProblem(name("closeWithin"), closeWithin) ??
    scheduleProblem(name("retry"), retry) ??
    unless(isPassing === undefined || typeof isPassing === "function", name("isPassing"), isPassing, "a function") ??
    unless(poisons.includes(poison), name("poison"), poison, "\"stop\", \"park\" or \"parkStream\"")
  if (problem !== undefined) return problem
  // databases count whole milliseconds
  const ttl = Math.ceil(Duration.toMillis(lease ?? "5 seconds"))
  if (ttl < minLease) return optionProblem(name("lease"), lease, `at least ${minLease} milliseconds`)
  return Effect.succeed({
    options: {
      pageSize: pageSize ?? 1_000,
      partitions: partitions ?? 1,
      ttl,
      timeout: Duration.decode(timeout ?? "30 seconds"),
      retry: retry ?? defaultRetry,
      isPassing: isPassing ?? (() => false),
      poison,
      maxDelay: Duration.decode(maxDelay ?? "1 second"),
      rest: 0
    },
    closeWithin: Duration.decode(closeWithin ?? "5 seconds")
  })
}

const minLease = 100

/** Servers and timers count in 31 bits. */
const longest = "20 days"

/** A limit that databases keep too. */
const limitProblem = (option: string, value: Duration.DurationInput | undefined): InvalidOption | undefined =>
  finiteDurationProblem(option, value) ??
    unless(value === undefined || Duration.lessThanOrEqualTo(value, longest), option, value, `at most ${longest}`)

const defaultRetry = Schedule.intersect(Schedule.exponential("100 millis"), Schedule.recurs(3))
