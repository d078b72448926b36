import { SnapshotPolicy } from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import * as Duration from "effect/Duration"
import { Account } from "../../cluster/fixture.js"

/** Times in milliseconds. */
export interface Settings {
  readonly persisted: boolean
  readonly lockExpiration: number
  readonly lockRefresh: number
  readonly refreshInterval: number
  readonly attemptTimeout: number
}

const prefix = "bank"

export const storesPrefix = { prefix }

export const entityOf = ({ persisted }: Settings) => AggregateEntity.make(Account, { persisted })

const shared = ({ lockExpiration, lockRefresh, refreshInterval }: Settings) => ({
  prefix,
  lockExpiration: Duration.millis(lockExpiration),
  lockRefresh: Duration.millis(lockRefresh),
  refreshInterval: Duration.millis(refreshInterval)
})

export const clientOf = (settings: Settings) => SqlCluster.layerClient(shared(settings))

export const runnerOf = (settings: Settings, port: number) =>
  SqlCluster.layerRunner({ ...shared(settings), address: { host: "127.0.0.1", port } })

export const entitiesOf = (settings: Settings) =>
  AggregateEntity.layer(entityOf(settings), {
    // entities also end because they are idle
    maxIdleTime: "5 seconds",
    snapshots: SnapshotPolicy.background({ every: 10 }),
    snapshotOnPassivation: { after: 3 }
  })

/** How long a call waits: longer than any disturbance. */
export const timeout = Duration.minutes(2)
