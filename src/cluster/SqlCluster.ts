/**
 * Connects the processes of a cluster through a database: that of the stores, or another one.
 *
 * @since 0.1.0
 */
import type { MessageStorage } from "@effect/cluster/MessageStorage"
import { make as makeAddress } from "@effect/cluster/RunnerAddress"
import * as RunnerHealth from "@effect/cluster/RunnerHealth"
import * as Runners from "@effect/cluster/Runners"
import { Sharding } from "@effect/cluster/Sharding"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as SocketRunner from "@effect/cluster/SocketRunner"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "@effect/cluster/SqlRunnerStorage"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import type { SocketServerError } from "@effect/platform/SocketServer"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Closing from "../internal/cluster/closing.js"
import * as Pruning from "../internal/cluster/pruning.js"
import * as Options from "../internal/cluster/sqlOptions.js"
import * as Tables from "../internal/cluster/tables.js"
import type { InvalidOption } from "../InvalidOption.js"

export type { MessageOptions, Place, RunnerOptions, Settings } from "../internal/cluster/sqlOptions.js"

/**
 * The services of a process in a cluster.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = Sharding | Runners.Runners | MessageStorage | ShardingConfig.ShardingConfig

/**
 * Makes this process a runner of the cluster: it listens on a socket, and takes a share of the shards. The layers of
 * entities need it. The entities and the shards of a runner that closes move to the others.
 *
 * The shards are locked by rows of a table. The runners create missing tables under a lock, so that they can start at the
 * same time.
 *
 * @example
 * ```ts
 * import { SqlCluster } from "effect-eventsourcing/cluster"
 *
 * const ClusterLive = SqlCluster.layerRunner({ address: { host: "10.0.0.7", port: 34431 }, prefix: "bank" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunner = (
  options: Options.RunnerOptions
): Layer.Layer<Services, InvalidOption | SqlError | SocketServerError, SqlClient> =>
  Layer.unwrapEffect(Effect.map(Options.ofRunner(options), (settings) => {
    const { address, listen, prefix } = settings
    const config = configOf(settings, {
      runnerAddress: Option.some(makeAddress(address.host, address.port)),
      runnerListenAddress: Option.map(Option.fromNullable(listen), ({ host, port }) => makeAddress(host, port))
    })
    const health = RunnerHealth.layerPing.pipe(
      Layer.provide(Runners.layerRpc),
      Layer.provide(NodeClusterSocket.layerClientProtocol)
    )
    return Closing.connections(
      pruning(settings).pipe(
        Layer.provideMerge(
          SocketRunner.layer.pipe(
            Layer.provide([NodeClusterSocket.layerSocketServer, NodeClusterSocket.layerClientProtocol, health])
          )
        ),
        connected(prefix, config)
      )
    )
  }))

/**
 * Connects this process with the runners of a cluster. It has no socket of its own and runs no entities: use it for an
 * HTTP front, for example. The settings must be those of the runners.
 *
 * @example
 * ```ts
 * import { SqlCluster } from "effect-eventsourcing/cluster"
 *
 * const ClusterLive = SqlCluster.layerClient({ prefix: "bank" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = (
  options: Options.Settings = {}
): Layer.Layer<Services, InvalidOption | SqlError, SqlClient> =>
  Layer.unwrapEffect(Effect.map(Options.ofClient(options), (settings) => {
    const config = configOf(settings, { runnerAddress: Option.none() })
    return Closing.connections(SocketRunner.layerClientOnly.pipe(
      Layer.provide(NodeClusterSocket.layerClientProtocol),
      connected(settings.prefix, config)
    ))
  }))

type Address = Partial<Pick<ShardingConfig.ShardingConfig["Type"], "runnerAddress" | "runnerListenAddress">>

const configOf = (settings: Options.Complete, address: Address): Layer.Layer<ShardingConfig.ShardingConfig> =>
  ShardingConfig.layer({
    ...address,
    shardsPerGroup: settings.shards,
    shardLockExpiration: settings.lockExpiration,
    shardLockRefreshInterval: settings.lockRefresh,
    // an advisory lock does not know its prefix, so that two clusters in one database would take each other's shards
    shardLockDisableAdvisory: true,
    // requests and answers are texts, which a call within a process can give as they are
    simulateRemoteSerialization: false,
    refreshAssignmentsInterval: settings.refreshInterval,
    entityMessagePollInterval: settings.refreshInterval,
    runnerHealthCheckInterval: settings.refreshInterval,
    entityTerminationTimeout: settings.terminationTimeout
  })

/** Provides the storages and the transport. */
const connected = (
  prefix: string,
  config: Layer.Layer<ShardingConfig.ShardingConfig>
) =>
<A, E, R>(layer: Layer.Layer<A, E, R>) =>
  layer.pipe(
    Layer.provideMerge(SqlMessageStorage.layerWith({ prefix })),
    Layer.provide(SqlRunnerStorage.layerWith({ prefix })),
    // the storages are built after it
    Layer.provide(Layer.effectDiscard(Tables.create(prefix))),
    Layer.provideMerge(config),
    Layer.provide(RpcSerialization.layerMsgPack)
  )

/** One runner of the cluster removes old messages. */
const pruning = ({ messages, prefix }: Options.CompleteRunner): Layer.Layer<never, never, Sharding | SqlClient> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const sharding = yield* Sharding
    const sql = (yield* SqlClient).withoutTransforms()
    yield* sharding.registerSingleton(`${prefix}/prune-messages`, Pruning.forever(sql, prefix, messages))
  }))
