import { Chunk, Effect, Layer, Schedule, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import pg from "pg"
import { event } from "../fixtures/Account.js"
import { postgresTemporaryDatabase, sqlStores } from "../utils/backends.js"
import { pgClient, poolClient, temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"

export const events = (count: number) => Array.from({ length: count }, (_, i) => event(i))

export const database = temporaryDatabase(postgresUrl())
export const emptyDatabase = Layer.unwrapScoped(Effect.map(database, (url) => pgClient(url)))
export const stores = Layer.provideMerge(sqlStores, postgresTemporaryDatabase)
export const storesOn = (url: string, options?: Parameters<typeof pgClient>[1]) =>
  Layer.provideMerge(sqlStores, pgClient(url, options))

export const collect = <A, E>(feed: Stream.Stream<A, E>) => Effect.map(Stream.runCollect(feed), Chunk.toReadonlyArray)

/** Reads the feed until it has given so many events: transactions of other tests may hold it back for a moment. */
export const feedOf = (count: number, options?: EventStore.ReadAllOptions) =>
  Effect.flatMap(EventStore.EventStore, (store) =>
    Effect.repeat(collect(store.readAll(options)), {
      until: (events) => events.length >= count,
      schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds"))
    }).pipe(Effect.zipRight(collect(store.readAll(options)))))

/** One connection, and the plans of all that runs on it, within functions too. */
export const explaining = (url: string, plans: Array<string>) =>
  poolClient(url, (pool) =>
    pool.on("connect", (client) => {
      client.on("notice", ({ message }) => {
        if (message?.includes("plan:") === true) plans.push(message)
      })
      void client.query(
        "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; " +
          "SET auto_explain.log_level = notice"
      )
    }))

/** A connection of the test's own, beside the pool. */
export const connection = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new pg.Client(url)
      client.on("error", () => {})
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end().catch(() => {}))
  )
