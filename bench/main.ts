// npm run bench [-- --quick] [--json FILE] [--docs FOLDER] [--only PATTERN]
import * as fs from "node:fs"
import * as path from "node:path"
import { parseArgs } from "node:util"
import type { Backend } from "./backend.js"
import * as Clusters from "./clusters.js"
import * as Imports from "./imports.js"
import { full, quick } from "./measure.js"
import type { Peer } from "./peer.js"
import type * as Peers from "./peers/index.js"
import type * as Plots from "./plots.js"
import * as Postgres from "./postgres.js"
import * as Processes from "./processes.js"
import * as Projections from "./projections.js"
import * as Projectors from "./projectors.js"
import * as Report from "./report.js"
import * as Rows from "./rows.js"
import * as Sqlite from "./sqlite.js"
import * as Storage from "./storage.js"
import { Suite } from "./suite.js"
import * as Writers from "./writers.js"

const readOptions = () => {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        json: { type: "string" },
        docs: { type: "string" },
        only: { type: "string" }
      }
    })
    const only = values.only === undefined ? undefined : new RegExp(values.only, "i")
    // a file that cannot be written fails before anything is measured
    if (values.json !== undefined) fs.writeFileSync(values.json, "")
    return { ...values, only }
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exit(1)
  }
}

const options = readOptions()
const suite = new Suite(
  options.quick ? quick : full,
  options.only,
  (row) => console.log(Report.table([row]).split("\n")[2])
)

// the peers are no dependencies of the library: they are installed, and type-checked, in this folder alone
const peers: typeof Peers = await import(new URL("./peers/index.ts", import.meta.url).href)

const lengths = [100, 1_000, 10_000, 100_000]
const improvements = { 100: 3, 1_000: 25, 10_000: 83, 100_000: 600 }
const longest = options.quick ? [] : [1_000_000]

const memory = { events: options.quick ? 200_000 : 1_000_000, limit: 16, times: options.quick ? 1 : 3 }
// to fill and to fold the longest streams takes the peers minutes
const peersUpTo = options.quick ? 1_000 : 100_000
const commanded = options.quick ? 10_000 : 100_000
const latency = { blocks: options.quick ? 6 : 20, target: 1.03 }
const stored = options.quick ? { streams: 200, length: 50 } : { streams: 1_000, length: 100 }

// a single append is called through the driver alone by these
const lean = { peerTarget: (peer: string) => peer === "castore-postgres" || peer === "message-db" ? 1.1 : 1 }
const asList = { peerTarget: (peer: string) => peer.startsWith("emmett") ? 1.2 : 1 }

const versions = { sqlite: "", postgres: "" }

const sqlite = await Sqlite.open()
versions.sqlite = await sqlite.version()
const sqlitePeers = await peers.onSqlite(sqlite.database.replace("bench.db", "peers.db"))
try {
  await Rows.fullReplay(suite, sqlite, { sizes: lengths, target: 1.5, peers: sqlitePeers, peersUpTo })
  await Rows.leanReplay(suite, sqlite)
  await Rows.heavyReplay(suite, sqlite, 1_000)
  await Rows.loadAtHead(suite, sqlite, { sizes: [...lengths, ...longest], target: 2, improvements })
  await Rows.append(suite, sqlite, { one: 1.15, hundred: 2, peers: sqlitePeers })
  await Rows.command(suite, sqlite, { size: commanded, target: 1.2, peers: options.quick ? [] : sqlitePeers })
  await Rows.shortCommand(suite, sqlite, { peers: sqlitePeers })
  await Rows.cachedCommand(suite, sqlite, { size: commanded, target: 1.2 })
  await Rows.read(suite, sqlite, { peers: sqlitePeers, ...asList })
  await Imports.imports(suite, sqlite)
  await Rows.background(suite, sqlite, options.quick ? 4 : 20)
  await Writers.latency(suite, sqlite, latency)
  await Writers.writers(suite, sqlite, {
    count: 16,
    floors: [{ connections: 1, target: 1 }],
    peers: sqlitePeers,
    peerTarget: 2
  })
  await Writers.writers(suite, sqlite, { count: 64, floors: [{ connections: 1 }], peers: [] })
  await Writers.commands(suite, sqlite, { connections: 1, target: 1 })
  await Processes.writers(suite, sqlite, { target: 0.8, rounds: options.quick ? 3 : 9 })
  await Storage.onSqlite(suite, sqlite, { ...stored, ids: "short" })
  await Storage.onSqlite(suite, sqlite, { ...stored, ids: "UUIDs" })
  await Processes.memory(suite, sqlite, memory)
} finally {
  for (const peer of sqlitePeers) await peer.close()
  await sqlite.close()
}

const synchronous = await Sqlite.open("FULL")
try {
  await Writers.writers(suite, synchronous, { count: 16, floors: [{ connections: 1, target: 3 }], peers: [] })
  await Writers.writers(suite, synchronous, { count: 64, floors: [{ connections: 1 }], peers: [] })
} finally {
  await synchronous.close()
}

/** The rows of many fibers, whose operations share round trips and commits. */
const together = async (postgres: Backend, postgresPeers: ReadonlyArray<Peer>) => {
  const { connections } = Postgres
  await Writers.latency(suite, postgres, latency)
  await Writers.writers(suite, postgres, {
    count: 16,
    floors: [{ connections, target: 1.5 }],
    peers: postgresPeers,
    peerTarget: 2
  })
  // the library's pool is as large as before: the second floor has a connection for each writer
  const floors = [{ connections, target: 3 }, { connections: 64, target: 3 }]
  await Writers.writers(suite, postgres, { count: 64, floors, peers: [] })
  await Writers.commands(suite, postgres, { connections, target: 1 })
}

// the servers end with this process: a peer that cannot be closed keeps connections to them until then
const server = await Postgres.start()
{
  const postgres = await Postgres.open(server.url)
  versions.postgres = await postgres.version()
  const postgresPeers = await peers.onPostgres(server.url)
  await Rows.fullReplay(suite, postgres, { sizes: lengths, target: 1.2, peers: postgresPeers, peersUpTo })
  await Rows.leanReplay(suite, postgres)
  await Rows.loadAtHead(suite, postgres, { sizes: [...lengths, ...longest], target: 1.5, improvements: {} })
  await Rows.append(suite, postgres, { one: 1.15, hundred: 2, peers: postgresPeers, ...lean })
  await Rows.command(suite, postgres, { size: commanded, target: 1.2, peers: options.quick ? [] : postgresPeers })
  await Rows.shortCommand(suite, postgres, { peers: postgresPeers, ...lean })
  await Rows.cachedCommand(suite, postgres, { size: commanded, target: 1.2 })
  await Rows.read(suite, postgres, { peers: postgresPeers, ...asList })
  await Imports.imports(suite, postgres)
  await Rows.background(suite, postgres, options.quick ? 4 : 20)
  await together(postgres, postgresPeers)
  await Storage.onPostgres(suite, postgres, { ...stored, ids: "short", limit: 300 })
  await Storage.onPostgres(suite, postgres, { ...stored, ids: "UUIDs" })
  await Processes.memory(suite, postgres, memory)
  for (const peer of postgresPeers) await peer.close()
  await postgres.close()

  // with tables of its own
  const another = await Postgres.start()
  const prepared = await Postgres.open(another.url, { prepared: true })
  const preparedPeers = await peers.onPostgres(another.url)
  await Rows.fullReplay(suite, prepared, { sizes: lengths.slice(0, 3), target: 1.2, peers: preparedPeers, peersUpTo })
  await Rows.loadAtHead(suite, prepared, { sizes: [100, 100_000], target: 1.5, improvements: {} })
  await Rows.append(suite, prepared, { one: 1.15, hundred: 2, peers: preparedPeers, ...lean })
  await Rows.command(suite, prepared, { size: commanded, target: 1.2, peers: options.quick ? [] : preparedPeers })
  await Rows.shortCommand(suite, prepared, { peers: preparedPeers, ...lean })
  await Rows.cachedCommand(suite, prepared, { size: commanded, target: 1.2 })
  await Rows.read(suite, prepared, { peers: preparedPeers, ...asList })
  await together(prepared, preparedPeers)
  for (const peer of preparedPeers) await peer.close()
  await prepared.close()
}

// commits that wait for the disk
const safe = await Postgres.start({ fsync: true })
{
  const peersOnDisk = await peers.onPostgres(safe.url)
  for (const prepared of [false, true]) {
    const onDisk = await Postgres.open(safe.url, { prepared, fsync: true })
    // one after the other they wait for the disk, prepared or not
    if (!prepared) {
      await Rows.append(suite, onDisk, { one: 1.15, hundred: 2, peers: peersOnDisk, ...lean })
      await Rows.command(suite, onDisk, { size: 10_000, target: 1.2, peers: [] })
      await Rows.shortCommand(suite, onDisk, { peers: peersOnDisk, ...lean })
    }
    await together(onDisk, peersOnDisk)
    await onDisk.close()
  }
  for (const peer of peersOnDisk) await peer.close()
}

/** The rows of projections, on databases of their own: a rebuild reads all events. */
const follow = async (
  site: Backend,
  consumer: ((batchSize: number) => Promise<Projections.PeerConsumer>) | undefined
) => {
  const quickly = options.quick
  // first: the partitions have nothing to catch up with
  await Projectors.idle(suite, site, { seconds: quickly ? 3 : 20, times: quickly ? 1 : 5 })
  await Projections.catchUp(suite, site, { events: quickly ? 20_000 : 1_000_000, pageSize: 1_000, consumer })
  await Projections.live(suite, site, {
    blocks: quickly ? 6 : 20,
    each: quickly ? 50 : 200,
    warmUp: quickly ? 500 : 3_000,
    target: 4
  })
  const times = quickly ? { blocks: 3, each: 10, warmUp: 5 } : { blocks: 10, each: 30, warmUp: 50 }
  await Projectors.fromAnotherProcess(suite, site, { ...times, isWoken: true, target: 10 })
  await Projectors.fromAnotherProcess(suite, site, { ...times, isWoken: false })
  await Projectors.failover(suite, site, { kills: quickly ? 2 : 11, ends: quickly ? 3 : 11 })
}
{
  const onSqlite = await Sqlite.open()
  await follow(onSqlite, undefined)
  await onSqlite.close()
  const followed = await Postgres.start()
  const onPostgres = await Postgres.open(followed.url)
  await follow(onPostgres, (batchSize) => peers.consumersOnPostgres(followed.url, batchSize))
  await onPostgres.close()
}
{
  const clustered = await Postgres.start()
  const onPostgres = await Postgres.open(clustered.url)
  await Clusters.entities(suite, onPostgres)
  await onPostgres.close()
}

for (const peer of peers.inMemory()) {
  await Rows.inMemory(suite, peer)
  await peer.close()
}

if (suite.rows.length === 0) {
  console.error(`No row matches ${options.only}`)
  process.exit(1)
}

const sqlPackages = ["effect", "@effect/sql", "@effect/sql-sqlite-node", "@effect/sql-pg", "better-sqlite3", "pg"]
const peerPackages = [
  "@event-driven-io/emmett",
  "@event-driven-io/emmett-sqlite",
  "@event-driven-io/emmett-postgresql",
  "@castore/core",
  "@castore/event-storage-adapter-postgres",
  "@castore/event-storage-adapter-in-memory",
  "@eventide/message-db"
]
const listed = (settings: Readonly<Record<string, string>>) =>
  Object.entries(settings).map(([name, value]) => `${name} = ${value}`).join(", ")
const machine = Report.machine(
  {
    SQLite: versions.sqlite,
    PostgreSQL: versions.postgres,
    ...Report.versionsOf(new URL("../package.json", import.meta.url), sqlPackages),
    ...Report.versionsOf(import.meta.url, peerPackages)
  },
  {
    SQLite: Sqlite.settings("NORMAL"),
    "SQLite, FULL": Sqlite.settings("FULL"),
    PostgreSQL: listed(Postgres.settings),
    "PostgreSQL, fsync": listed(Postgres.safeSettings)
  }
)
console.log(`\n${Report.page(suite.rows, machine, options.quick)}`)
if (options.json !== undefined) {
  fs.writeFileSync(options.json, suite.rows.map((row) => `${JSON.stringify(Report.toJson(row))}\n`).join(""))
}
// what a full run measured is what the documentation shows
const folder = options.docs ?? (options.quick || options.only !== undefined ? undefined : "docs/benchmarks")
if (folder !== undefined) {
  const plots: typeof Plots = await import(new URL("./plots.ts", import.meta.url).href)
  const files = plots.write(folder, suite.rows, `median, ${machine.cpu}, ${machine.cores} cores, ${machine.date}`)
  const page = path.join(folder, "results.md")
  fs.writeFileSync(page, `# Results\n\n${Report.page(suite.rows, machine, options.quick)}\n`)
  console.log(`Wrote ${[...files, page].join(", ")}`)
}
process.exit()
