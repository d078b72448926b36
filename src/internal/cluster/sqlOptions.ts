// The options of SqlCluster, which exports them, and their validation.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../InvalidOption.js"
import { finiteDurationProblem, recordProblem, unless, wholeFromOne } from "../options.js"
import type * as Pruning from "./pruning.js"
import * as Tables from "./tables.js"

/**
 * The settings that all processes of a cluster share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /**
   * The beginning of the names of the cluster's tables: `bank` for `bank_cluster_runners` and so on. Two clusters in one
   * database have two prefixes, and do not see each other. Default `eventsourcing`.
   */
  readonly prefix?: string | undefined
  /** The number of shards. All processes need the same. Default 300. */
  readonly shards?: number | undefined
  /**
   * How long a runner that does not answer keeps its shards. A shorter time moves them earlier after a crash. A time that
   * is too short takes the shards of a busy runner away. Default 10 seconds.
   */
  readonly lockExpiration?: Duration.DurationInput | undefined
  /** How often a runner renews its shards: at most a third of `lockExpiration`. Default 3 seconds. */
  readonly lockRefresh?: Duration.DurationInput | undefined
  /** How often a process looks for other runners, and a runner for messages. Default 1 second. */
  readonly refreshInterval?: Duration.DurationInput | undefined
  /** How long a runner that closes waits for the requests of its entities. Default 15 seconds. */
  readonly terminationTimeout?: Duration.DurationInput | undefined
}

/**
 * The options of a runner.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunnerOptions extends Settings {
  /** The host and the port at which other processes reach this one. */
  readonly address: Place
  /** The host and the port to listen on. Default: `address`. */
  readonly listen?: Place | undefined
  /** How the messages of persisted commands are removed after they were answered. */
  readonly messages?: MessageOptions | undefined
}

/**
 * The options for the messages of persisted commands.
 *
 * @since 0.1.0
 * @category models
 */
export interface MessageOptions {
  /** How long an answered message stays. Default 1 day. */
  readonly keep?: Duration.DurationInput | undefined
  /** How often one runner removes older messages. Default 1 minute. */
  readonly every?: Duration.DurationInput | undefined
  /** How many messages one statement removes, at most. Default 1,000. */
  readonly limit?: number | undefined
}

/**
 * The place of a socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface Place {
  readonly host: string
  readonly port: number
}

/** The settings with their defaults. The prefix is that of the cluster's own tables. */
export interface Complete {
  readonly prefix: string
  readonly shards: number
  readonly lockExpiration: Duration.DurationInput
  readonly lockRefresh: Duration.DurationInput
  readonly refreshInterval: Duration.DurationInput
  readonly terminationTimeout: Duration.DurationInput
}

export interface CompleteRunner extends Complete {
  readonly address: Place
  readonly listen: Place | undefined
  readonly messages: Pruning.Settings
}

export const ofClient = (options: Settings): Effect.Effect<Complete, InvalidOption> =>
  checked(recordProblem("SqlCluster options", options, shared) ?? problemOf(options), () => complete(options))

export const ofRunner = (options: RunnerOptions): Effect.Effect<CompleteRunner, InvalidOption> =>
  checked(
    recordProblem("SqlCluster options", options, [...shared, "address", "listen", "messages"]) ??
      problemOf(options) ??
      placeProblem("SqlCluster address", options.address) ??
      (options.listen === undefined ? undefined : placeProblem("SqlCluster listen", options.listen)) ??
      recordProblem("SqlCluster messages", options.messages, ["keep", "every", "limit"]) ??
      finiteDurationProblem("SqlCluster messages.keep", options.messages?.keep) ??
      finiteDurationProblem("SqlCluster messages.every", options.messages?.every) ??
      wholeFromOne("SqlCluster messages.limit", options.messages?.limit),
    () => ({
      ...complete(options),
      address: options.address,
      listen: options.listen,
      messages: {
        keep: options.messages?.keep ?? "1 day",
        every: options.messages?.every ?? "1 minute",
        limit: options.messages?.limit ?? 1_000
      }
    })
  )

const shared = ["prefix", "shards", "lockExpiration", "lockRefresh", "refreshInterval", "terminationTimeout"]

const checked = <A>(problem: InvalidOption | undefined, settings: () => A): Effect.Effect<A, InvalidOption> =>
  problem === undefined ? Effect.sync(settings) : Effect.fail(problem)

const complete = (options: Settings): Complete => ({
  prefix: Tables.prefixOf(options.prefix ?? "eventsourcing"),
  shards: options.shards ?? 300,
  lockExpiration: options.lockExpiration ?? defaults.lockExpiration,
  lockRefresh: options.lockRefresh ?? defaults.lockRefresh,
  refreshInterval: options.refreshInterval ?? "1 second",
  terminationTimeout: options.terminationTimeout ?? "15 seconds"
})

const defaults = { lockExpiration: "10 seconds", lockRefresh: "3 seconds" } as const

const problemOf = (options: Settings): InvalidOption | undefined =>
  // the names of the tables and their indexes must fit into 63 characters
  unless(
    options.prefix === undefined || /^[a-z_][a-z0-9_]{0,29}$/i.test(options.prefix),
    "SqlCluster prefix",
    options.prefix,
    "1 to 30 letters, digits and underscores, without the name of a schema"
  ) ??
    wholeFromOne("SqlCluster shards", options.shards) ??
    finiteDurationProblem("SqlCluster lockExpiration", options.lockExpiration) ??
    finiteDurationProblem("SqlCluster lockRefresh", options.lockRefresh) ??
    finiteDurationProblem("SqlCluster refreshInterval", options.refreshInterval) ??
    finiteDurationProblem("SqlCluster terminationTimeout", options.terminationTimeout) ??
    refreshProblem(options)

// a runner that renews its locks too late loses them
const refreshProblem = ({ lockExpiration, lockRefresh }: Settings): InvalidOption | undefined => {
  const expiration = Duration.toMillis(lockExpiration ?? defaults.lockExpiration)
  const refresh = Duration.toMillis(lockRefresh ?? defaults.lockRefresh)
  return refresh * 3 <= expiration ? undefined : new InvalidOption({
    option: "SqlCluster lockRefresh",
    value: `${refresh} ms, with a lockExpiration of ${expiration} ms`,
    expected: "at most a third of lockExpiration"
  })
}

const placeProblem = (option: string, place: Place): InvalidOption | undefined =>
  recordProblem(option, place, ["host", "port"]) ??
    unless(
      typeof place?.host === "string" && place.host !== "" && Number.isInteger(place.port) && place.port > 0 &&
        place.port < 65_536,
      option,
      place,
      "a host and a port from 1 to 65535"
    )
