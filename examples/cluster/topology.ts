// Three runners and an HTTP front over one PostgreSQL, each in a process of its own.
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, Option, Redacted, Schedule, type Scope } from "effect"
import { freePort, type Member, member, program } from "./processes.js"
import { shards } from "./settings.js"

export interface Runner extends Member {
  readonly address: string
}

export interface Topology {
  readonly database: string
  readonly url: string
  readonly front: Member
  readonly runners: ReadonlyArray<Runner>
  /** Reads the shards that each address holds. */
  readonly shares: Effect.Effect<Shares>
  /** Waits until each of these runners has a share, and all shards are taken. */
  readonly balanced: (runners: ReadonlyArray<Runner>) => Effect.Effect<void>
}

export type Shares = ReadonlyMap<string, ReadonlyArray<string>>

type OnLine = (name: string, line: string) => void

/** The database of DATABASE_URL, or a server that an npm package brings, as the tests have it. */
const database = Effect.gen(function*() {
  const given = yield* Config.option(Config.redacted("DATABASE_URL"))
  if (Option.isSome(given)) return Redacted.value(given.value)
  const server = yield* program(
    "postgres",
    ["--import", "tsx", "test/utils/postgres-server.ts", JSON.stringify({ max_connections: "200" })],
    {},
    () => {}
  )
  yield* server.start
  return yield* Effect.raceFirst(server.line(/^postgres:/), ended(server))
})

/** Reads the locks of the shards, which are rows of a table of the cluster. */
const sharesOf = (sql: SqlClient.SqlClient): Effect.Effect<Shares> =>
  sql<{ readonly address: string; readonly shards: ReadonlyArray<string> }>`
    SELECT address, array_agg(shard_id) AS shards FROM eventsourcing_cluster_locks GROUP BY address`.pipe(
    Effect.map((rows) => new Map(rows.map(({ address, shards }) => [address, shards]))),
    // the table is created by the first runner
    Effect.orElseSucceed(() => new Map())
  )

/** Starts all processes, and waits until the front answers and every shard is taken. */
export const start = (onLine: OnLine): Effect.Effect<Topology, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const databaseUrl = yield* database
    const sql = yield* Effect.provide(
      SqlClient.SqlClient,
      yield* Layer.build(PgClient.layer({ url: Redacted.make(databaseUrl), maxConnections: 1 }))
    )
    // the driver warns about a habit of the cluster
    const env = { DATABASE_URL: databaseUrl, NODE_NO_WARNINGS: "1" }
    const runners = yield* Effect.forEach([1, 2, 3], (number) =>
      Effect.gen(function*() {
        const port = yield* freePort
        const runner = yield* member(`runner ${number}`, "runner", { ...env, RUNNER_PORT: String(port) }, onLine)
        return { ...runner, address: `127.0.0.1:${port}` }
      }))
    const shares = sharesOf(sql)
    const balanced = (runners: ReadonlyArray<Runner>) =>
      shares.pipe(
        Effect.repeat({
          until: (shares) =>
            runners.every(({ address }) => shares.has(address)) &&
            Array.from(shares.values()).flat().length === shards,
          schedule: Schedule.spaced("200 millis")
        }),
        Effect.asVoid
      )
    const front = yield* member("front", "front", env, onLine)
    const members = [...runners, front]
    yield* Effect.forEach(members, ({ start }) => start, { discard: true })
    const ready = Effect.zipLeft(front.line(/Listening on/), balanced(runners))
    const [url] = /http:\S+:\d+/.exec(
      yield* Effect.raceFirst(
        ready,
        Effect.forEach(members, ended, { concurrency: "unbounded" }).pipe(Effect.zipRight(Effect.never))
      )
    ) ?? [""]
    return { database: databaseUrl, url, front, runners, shares, balanced }
  })

const ended = ({ exited, name }: Member) =>
  Effect.flatMap(exited, () => Effect.fail(new Error(`${name} ended before the cluster was ready: is its port taken?`)))
