// The settings of the cluster, which all of its processes share.
import { Config } from "effect"

export const shards = 300

/** The defaults of the library, unless the environment says otherwise. */
export const settings = Config.all({
  shards: Config.succeed(shards),
  lockExpiration: Config.withDefault(Config.duration("LOCK_EXPIRATION"), "10 seconds"),
  lockRefresh: Config.withDefault(Config.duration("LOCK_REFRESH"), "3 seconds"),
  refreshInterval: Config.withDefault(Config.duration("REFRESH_INTERVAL"), "1 second")
})
