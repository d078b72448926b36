// The options of AggregateEntity, which exports them, and their validation.
import type * as Duration from "effect/Duration"
import type * as Schedule from "effect/Schedule"
import { InvalidOption } from "../../InvalidOption.js"
import {
  booleanProblem,
  finiteDurationProblem,
  recordProblem,
  requiredCount,
  scheduleProblem,
  unless,
  wholeFromOne
} from "../options.js"
import type * as Options from "../repository/options.js"
import * as Sending from "./sending.js"

/**
 * The options of an entity.
 *
 * @since 0.1.0
 * @category models
 */
export interface MakeOptions {
  /**
   * Whether a command is stored in the cluster's tables before it is sent. A stored command is executed even if its
   * sender has ended, and waits if there is no runner. It takes three to five times as long. Either way a command counts
   * once. Default false.
   */
  readonly persisted?: boolean | undefined
}

/**
 * The options of a runner's entities: those of the repository that they share, and of the cluster.
 *
 * @since 0.1.0
 * @category models
 */
export interface LayerOptions<State = unknown, Event = unknown> extends Options.Options<State, Event> {
  /** How long an entity without requests keeps its state. Default: the cluster's `entityMaxIdleTime`. */
  readonly maxIdleTime?: Duration.DurationInput | undefined
  /** How many requests may wait for one entity. More are sent again later. Default: the cluster's setting. */
  readonly mailboxCapacity?: number | undefined
  /**
   * Takes a snapshot when an entity ends because it was idle, moves or its runner closes, if at least `after` events are
   * new. Default: none.
   */
  readonly snapshotOnPassivation?: { readonly after: number } | undefined
}

/**
 * The options of a client.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions {
  /** How long a call waits for its answer, with all of its attempts. Default 15 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * How long the first attempt waits before the request is sent again, with the same command id. It should be longer than
   * any command takes, because the next attempt interrupts it. After each attempt without an answer the next one waits
   * twice as long, up to a quarter of `timeout`. A persisted command is not sent again. Default 5 seconds.
   */
  readonly attemptTimeout?: Duration.DurationInput | undefined
  /** The waits before a failed attempt is repeated. Default: from 20 milliseconds up to a second, until the timeout. */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
}

export const makeProblem = (aggregate: unknown, options: MakeOptions): InvalidOption | undefined => {
  const isAggregate = typeof aggregate === "object" && aggregate !== null && "decide" in aggregate &&
    "name" in aggregate && typeof aggregate.name === "string"
  return unless(isAggregate, "AggregateEntity aggregate", aggregate, "an aggregate from Aggregate.make") ??
    (isAggregate ? nameProblem(String(aggregate.name)) : undefined) ??
    recordProblem("AggregateEntity options", options, ["persisted"]) ??
    booleanProblem("AggregateEntity persisted", options.persisted)
}

const nameProblem = (name: string): InvalidOption | undefined =>
  unless(
    name.length <= 150 && name.trim() === name,
    "AggregateEntity name",
    name,
    "at most 150 characters, without space at either end"
  )

export const layerProblem = <State, Event>(options: LayerOptions<State, Event>): InvalidOption | undefined =>
  finiteDurationProblem("AggregateEntity maxIdleTime", options.maxIdleTime) ??
    wholeFromOne("AggregateEntity mailboxCapacity", options.mailboxCapacity) ??
    recordProblem("AggregateEntity snapshotOnPassivation", options.snapshotOnPassivation, ["after"]) ??
    (options.snapshotOnPassivation === undefined
      ? undefined
      : requiredCount("AggregateEntity snapshotOnPassivation.after", options.snapshotOnPassivation.after)) ??
    (options.snapshotOnPassivation === undefined || (options.snapshots?._tag ?? "None") !== "None"
      ? undefined
      : new InvalidOption({
        option: "AggregateEntity snapshotOnPassivation",
        value: "with the policy none",
        expected: "another policy in `snapshots`, such as SnapshotPolicy.manual"
      }))

export const clientProblem = (options: ClientOptions): InvalidOption | undefined =>
  recordProblem("AggregateEntity client options", options, ["timeout", "attemptTimeout", "retry"]) ??
    finiteDurationProblem("AggregateEntity timeout", options.timeout) ??
    finiteDurationProblem("AggregateEntity attemptTimeout", options.attemptTimeout) ??
    scheduleProblem("AggregateEntity retry", options.retry)

export const completeClient = (options: ClientOptions): Sending.Settings => ({
  timeout: options.timeout ?? "15 seconds",
  attempt: options.attemptTimeout ?? "5 seconds",
  retry: options.retry ?? Sending.defaultRetry
})
