// The rows of aggregates on a cluster: commands of entities beside those of a repository.
import { SqlClient } from "@effect/sql"
import { Context, Effect, Exit, Layer, Schedule, Scope } from "effect"
import { type Repository, SnapshotPolicy } from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import * as net from "node:net"
import { start } from "../test/utils/process.js"
import type { Backend } from "./backend.js"
import { Account, deposit, id, newId, seed } from "./fixtures.js"
import type { Contender } from "./measure.js"
import { emptyStream, library, repeat, repository } from "./rows.js"
import type { Suite } from "./suite.js"

export interface Settings {
  /** Of the cluster's tables: each cluster has its own. */
  readonly prefix: string
  readonly persisted: boolean
}

export const entityOf = ({ persisted }: Settings) => AggregateEntity.make(Account, { persisted })

/** A runner at a port, with the stores and the database of the caller. */
export const runner = (settings: Settings, port: number) =>
  Layer.provideMerge(
    AggregateEntity.layer(entityOf(settings), { snapshots: SnapshotPolicy.manual }),
    SqlCluster.layerRunner({ prefix: settings.prefix, address: { host: "127.0.0.1", port } })
  )

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = net.createServer()
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

type Execute = (account: typeof Account.schemas.id.Type) => Effect.Effect<unknown, unknown>

/** A cluster, and a client of it in this process. */
interface Cluster {
  readonly execute: Execute
  readonly close: () => Promise<void>
}

class Accounts extends Context.Tag("bench/Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

/** Starts so many runners in processes of their own, or one in this process. */
export const open = async (
  backend: Backend,
  options: { readonly persisted: boolean; readonly processes: 0 | 1 | 2 }
): Promise<Cluster> => {
  const settings = { prefix: `c${newId().replaceAll("-", "").slice(0, 20)}`, persisted: options.persisted }
  const scope = Effect.runSync(Scope.make())
  const stores = backend.stores({})
  const children = await Promise.all(Array.from({ length: options.processes }, async () => {
    const port = await freePort()
    const child = start("bench/runner.ts", [JSON.stringify({ ...settings, database: backend.database, port })])
    await child.line("ready")
    return child
  }))
  const cluster = options.processes === 0
    ? runner(settings, await freePort())
    : SqlCluster.layerClient({ prefix: settings.prefix })
  const live = Layer.provide(AggregateEntity.repository(Accounts, entityOf(settings)), cluster)
  const accounts = await stores.runPromise(
    Effect.map(Scope.extend(Layer.build(live), scope), (context) => Context.get(context, Accounts))
  )
  await stores.runPromise(balanced(settings, Math.max(1, options.processes)))
  return {
    execute: (account) => accounts.execute(account, deposit),
    close: async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void))
      for (const child of children) {
        child.child.stdin.end()
        await child.exited
      }
      await stores.dispose()
    }
  }
}

/** Waits until so many runners have taken all shards. */
const balanced = ({ prefix }: Settings, runners: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql<{ readonly runners: number; readonly shards: number }>`
      SELECT COUNT(DISTINCT address)::int AS runners, COUNT(*)::int AS shards FROM ${sql(`${prefix}_cluster_locks`)}`)
    .pipe(
      Effect.repeat({
        until: ([row]) => row.runners === runners && row.shards === 300,
        schedule: Schedule.spaced("200 millis")
      }),
      Effect.timeout("1 minute")
    )

/** Aggregates with twenty events, whose snapshots are at the head before each run. */
const contender = async (
  backend: Backend,
  name: string,
  fibers: number,
  execute: Execute
): Promise<Contender & { readonly count: number }> => {
  const each = fibers === 1 ? 16 : 4
  const streams = Array.from({ length: fibers }, () => Array.from({ length: each }, () => emptyStream("entity")))
  const manual = await repository(backend, { snapshots: SnapshotPolicy.manual })
  const snapshots = Effect.forEach(streams.flat(), ({ id: stream }) => manual.createSnapshot(id(stream)), {
    concurrency: 8,
    discard: true
  })
  await backend.runtime.runPromise(Effect.forEach(streams.flat(), (stream) => seed(stream, 20), { discard: true }))
  await backend.runtime.runPromise(snapshots)
  const all = Effect.forEach(
    streams,
    (list) => Effect.forEach(list, ({ id: stream }) => execute(id(stream)), { discard: true }),
    { concurrency: "unbounded", discard: true }
  )
  return {
    name,
    count: fibers * each,
    run: repeat(() => Effect.runPromise(all)),
    // an entity does not need them: outside the time of all
    after: () => backend.runtime.runPromise(snapshots)
  }
}

/** What one fiber does with an entity takes less than with a repository, because the entity holds the state. */
const cases = [{ fibers: 1, label: "1 fiber", target: 1.5 }, { fibers: 32, label: "32 fibers", target: 1 }]

type Kind = Parameters<typeof open>[1]

/** Commands of entities beside `Repository.execute`, and beside those of another cluster. */
const commands = async (suite: Suite, backend: Backend, options: {
  readonly name: string
  readonly own: Kind
  readonly other: Kind & { readonly name: string }
}): Promise<void> => {
  const wanted = cases.map((one) => ({ ...one, name: `${options.name}, ${one.label}` }))
    .filter(({ name }) => suite.wants(name, backend.name))
  if (wanted.length === 0) return
  const plain = await repository(backend, { snapshots: SnapshotPolicy.manual })
  const own = await open(backend, options.own)
  const other = await open(backend, options.other)
  try {
    for (const { fibers, name, target } of wanted) {
      const [first, second, third] = [
        await contender(backend, library, fibers, own.execute),
        await contender(backend, "Repository.execute", fibers, (account) => plain.execute(account, deposit)),
        await contender(backend, options.other.name, fibers, other.execute)
      ]
      await backend.settle()
      await suite.throughput({
        name,
        backend: backend.name,
        size: 20,
        unit: "commands",
        count: first.count,
        contenders: [first, { ...second, target }, third]
      })
    }
  } finally {
    await own.close()
    await other.close()
  }
}

export const entities = async (suite: Suite, backend: Backend): Promise<void> => {
  await commands(suite, backend, {
    name: "commands of entities, the client in the process of the runner",
    own: { processes: 0, persisted: false },
    other: { processes: 0, persisted: true, name: "persisted" }
  })
  await commands(suite, backend, {
    name: "commands of entities, the runner in another process",
    own: { processes: 1, persisted: false },
    other: { processes: 2, persisted: false, name: "two runners" }
  })
}
