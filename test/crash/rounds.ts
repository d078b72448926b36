import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Cause, Chunk, Effect, Exit, Layer, Redacted, Stream } from "effect"
import {
  EventStore,
  Repository,
  SnapshotPolicy,
  type SnapshotStore,
  Sqlite,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as readline from "node:readline"
import { Account, id } from "../fixtures/Account.js"
import { nodeArguments } from "../utils/compile.js"
import { type Server, startServer } from "../utils/postgres.js"
import { type Orders, parseEventId, type Said } from "./protocol.js"

const streams = 24

// -------------------------------------------------------------------------------------
// the writer
// -------------------------------------------------------------------------------------

/** What all writers of one database said, and what else went wrong. */
export class Book {
  readonly ok: Array<Extract<Said, { readonly _tag: "Ok" }>> = []
  readonly refused = new Map<string, string>()
  readonly problems: Array<string> = []
  maybe = 0
  groups = 0
  /** How many appends of the last group have no answer yet, at least. */
  unanswered = 0
}

const startWriter = (orders: Orders, book: Book) => {
  const program = nodeArguments("test/crash/writer.ts")
  const child = childProcess.spawn(process.execPath, [...program, JSON.stringify(orders)], {
    stdio: ["pipe", "pipe", "pipe"]
  })
  let errors = ""
  child.stderr.on("data", (chunk) => errors += String(chunk))
  const waiting: Array<{ readonly tag: Said["_tag"]; readonly resolve: () => void }> = []
  readline.createInterface({ input: child.stdout }).on("line", (line) => {
    // the last line may be cut off in the middle: it was not said
    if (!line.endsWith("}")) return
    const said: Said = JSON.parse(line)
    for (const [index, { resolve, tag }] of waiting.entries()) {
      if (tag !== said._tag) continue
      waiting.splice(index, 1)
      resolve()
      break
    }
    switch (said._tag) {
      case "Group":
        book.groups++
        book.unanswered = said.appends
        break
      case "Ok":
        book.unanswered--
        book.ok.push(said)
        break
      case "Maybe":
        book.unanswered--
        book.maybe++
        break
      case "No":
        book.unanswered--
        book.refused.set(said.command, said.error)
        break
      case "Bad":
        book.problems.push(said.problem)
        break
    }
  })
  const exited = new Promise<void>((resolve) => child.on("close", () => resolve()))
  const told = (tag: Said["_tag"]) =>
    new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the writer did not say ${tag} for a minute: it hangs`)), 60_000)
      waiting.push({
        tag,
        resolve: () => {
          clearTimeout(late)
          resolve()
        }
      })
      void exited.then(() => clearTimeout(late))
      void exited.then(() => reject(new Error(`the writer ended before it said ${tag}: ${errors}`)))
    })
  return {
    child,
    exited,
    errors: () => errors,
    told,
    tell: (text: "go" | "pause" | "stop") => child.stdin.write(`${text}\n`)
  }
}

// -------------------------------------------------------------------------------------
// the check
// -------------------------------------------------------------------------------------

interface Found {
  readonly events: number
  readonly snapshots: number
}

/** Everything that must hold of a database, after whatever happened to its writers. */
export const check = (book: Book, integrity: Effect.Effect<ReadonlyArray<string>, unknown, SqlClient.SqlClient>) =>
  Effect.gen(function*() {
    const wrong = (problem: string) => book.problems.push(problem)
    const sql = yield* SqlClient.SqlClient
    const store = yield* EventStore.EventStore
    const plain = yield* Repository.make(Account)
    const quick = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })

    // before the events: a backend whose client is gone may still be at work
    const snapshots = yield* sql<{ readonly stream_id: string; readonly version: number; readonly event_id: string }>`
SELECT stream_id, version, event_id FROM eventsourcing_snapshots`
    const histories = new Map<string, ReadonlyArray<string>>()
    const written = new Map<string, { of: number; found: number }>()
    for (let n = 0; n < streams; n++) {
      const name = `s${n}`
      const events = Chunk.toReadonlyArray(yield* Stream.runCollect(store.read(StreamId.make("Account", name))))
      histories.set(name, events.map((event) => event.id))
      for (const [index, event] of events.entries()) {
        if (event.version !== index + 1) wrong(`${name} has version ${event.version} in place ${index + 1}`)
        const { command, of } = parseEventId(event.id)
        const counted = written.get(command) ?? { of, found: 0 }
        counted.found++
        written.set(command, counted)
      }
    }
    for (const { command, from, stream, to } of book.ok) {
      for (let version = from; version <= to; version++) {
        const event = histories.get(stream)?.[version - 1]
        if (event === undefined || parseEventId(event).command !== command) {
          wrong(`${command} was acknowledged as ${stream} ${version}, where ${event ?? "nothing"} stands`)
        }
      }
    }
    for (const [command, { found, of }] of written) {
      if (found !== of) wrong(`${found} of the ${of} events of ${command} are there`)
      const error = book.refused.get(command)
      if (error !== undefined) wrong(`${command} was refused and is there: ${error}`)
    }
    for (const snapshot of snapshots) {
      const event = histories.get(snapshot.stream_id)?.[snapshot.version - 1]
      if (event === undefined) wrong(`the snapshot of ${snapshot.stream_id} at ${snapshot.version} is ahead`)
      else if (event !== snapshot.event_id) wrong(`the snapshot of ${snapshot.stream_id} is of another history`)
    }
    for (const name of histories.keys()) {
      const [loaded, replayed] = yield* Effect.all([quick.load(id(name)), plain.load(id(name))]).pipe(
        Effect.catchAll((error) => {
          wrong(error.message)
          return Effect.succeed([])
        })
      )
      if (loaded === undefined || replayed === undefined) continue
      const { balance, open } = loaded.state
      if (loaded.snapshotOutcome._tag !== "Hit" && loaded.snapshotOutcome._tag !== "None") {
        wrong(`the snapshot of ${name} was not used: ${JSON.stringify(loaded.snapshotOutcome)}`)
      }
      if (loaded.version === replayed.version && (balance !== replayed.state.balance || open !== replayed.state.open)) {
        wrong(`${name} loads as ${JSON.stringify(loaded.state)}, replay gives ${JSON.stringify(replayed.state)}`)
      }
      if (replayed.version > 0 && replayed.state.balance !== replayed.version - 1) {
        wrong(`${name} at ${replayed.version} has ${replayed.state.balance}`)
      }
    }
    for (const line of yield* integrity) wrong(`integrity check: ${line}`)
    return {
      events: Array.from(histories.values()).reduce((sum, ids) => sum + ids.length, 0),
      snapshots: snapshots.length
    }
  })

const sqliteIntegrity = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    Effect.all([
      sql<{ readonly integrity_check: string }>`PRAGMA integrity_check`,
      sql<Readonly<Record<string, unknown>>>`PRAGMA foreign_key_check`
    ]),
    ([rows, broken]) => [
      ...rows.map((row) => row.integrity_check).filter((line) => line !== "ok"),
      ...broken.map((row) => JSON.stringify(row))
    ]
  ))

// pages, order and uniqueness of every index and every heap of the tables
const postgresIntegrity = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.gen(function*() {
    yield* sql`CREATE EXTENSION IF NOT EXISTS amcheck`
    yield* sql`SELECT bt_index_parent_check(i.indexrelid, true, true, true)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname LIKE 'eventsourcing%'`
    const broken = yield* sql<{ readonly msg: string }>`SELECT v.msg
FROM pg_class c, LATERAL verify_heapam(c.oid) v WHERE c.relname LIKE 'eventsourcing%' AND c.relkind = 'r'`
    return broken.map((row) => row.msg)
  }))

// -------------------------------------------------------------------------------------
// variants
// -------------------------------------------------------------------------------------

interface Database {
  readonly orders: Pick<Orders, "backend" | "target" | "synchronous">
  readonly layer: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore | SqlClient.SqlClient, unknown>
  readonly integrity: Effect.Effect<ReadonlyArray<string>, unknown, SqlClient.SqlClient>
  readonly remove: () => Promise<void>
}

interface Hit {
  /** Whether the writer is dead afterwards. */
  readonly fatal: boolean
  /** Gives whether anything was killed: a writer may have ended by itself, or not be connected yet. */
  readonly strike: (writer: ReturnType<typeof startWriter>, database: Database) => Promise<boolean>
}

export interface Variant {
  readonly name: string
  /** Whether so many fibers write at once that their appends are in groups. */
  readonly groups?: boolean
  /** Out of 1,300 kills in all. */
  readonly kills: number
  readonly needs: "sqlite" | "postgres"
  readonly synchronous: "NORMAL" | "FULL"
  readonly hit: (server: Server | undefined) => Hit
}

const stores = SqlStores.layer

const killWriter: Hit = {
  fatal: true,
  strike: async (writer) => {
    writer.child.kill("SIGKILL")
    await writer.exited
    return writer.child.signalCode === "SIGKILL"
  }
}

const pgLayer = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })

const administer = (url: string, statement: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe<{ readonly ended: boolean }>(statement)).pipe(
    Effect.provide(Layer.fresh(pgLayer(url))),
    Effect.runPromise
  )

const terminateBackends: Hit = {
  fatal: false,
  strike: async (_, { orders }) => {
    const rows = await administer(
      orders.target,
      "SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity " +
        "WHERE datname = current_database() AND pid <> pg_backend_pid() " +
        "AND backend_type = 'client backend'"
    )
    return rows.some(({ ended }) => ended)
  }
}

const stopServer = (server: Server | undefined): Hit => ({
  fatal: false,
  strike: async () => {
    // both say so when it is done, and fail otherwise
    await server?.stop("immediate")
    await server?.start()
    return server !== undefined
  }
})

const sqlite = { needs: "sqlite", hit: () => killWriter } as const
const postgres = { needs: "postgres", synchronous: "FULL" } as const

export const variants: ReadonlyArray<Variant> = [
  { ...sqlite, name: "SQLite, synchronous NORMAL, writer killed", kills: 250, synchronous: "NORMAL" },
  { ...sqlite, name: "SQLite, synchronous FULL, writer killed", kills: 250, synchronous: "FULL" },
  { ...postgres, name: "PostgreSQL, client killed", kills: 250, hit: () => killWriter },
  { ...postgres, name: "PostgreSQL, backends terminated", kills: 150, hit: () => terminateBackends },
  { ...postgres, name: "PostgreSQL, server stopped with -m immediate", kills: 100, hit: stopServer },
  { ...sqlite, name: "groups: SQLite, synchronous FULL, writer killed", kills: 100, groups: true, synchronous: "FULL" },
  {
    ...sqlite,
    name: "groups: SQLite, synchronous NORMAL, writer killed",
    kills: 50,
    groups: true,
    synchronous: "NORMAL"
  },
  { ...postgres, name: "groups: PostgreSQL, client killed", kills: 75, groups: true, hit: () => killWriter },
  {
    ...postgres,
    name: "groups: PostgreSQL, backends terminated",
    kills: 45,
    groups: true,
    hit: () => terminateBackends
  },
  {
    ...postgres,
    name: "groups: PostgreSQL, server stopped with -m immediate",
    kills: 30,
    groups: true,
    hit: stopServer
  }
]

export const sqliteDatabase = (synchronous: "NORMAL" | "FULL"): Database => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "crash-"))
  const target = path.join(folder, "crash.db")
  return {
    orders: { backend: "sqlite", target, synchronous },
    layer: Layer.provideMerge(stores, Sqlite.layer(SqliteClient.layer, { filename: target, synchronous })),
    integrity: sqliteIntegrity,
    remove: async () => fs.rmSync(folder, { recursive: true, force: true })
  }
}

const postgresDatabase = async (server: Server): Promise<Database> => {
  const name = `crash_${crypto.randomUUID().replaceAll("-", "")}`
  await administer(server.url, `CREATE DATABASE ${name}`)
  const url = new URL(server.url)
  url.pathname = name
  return {
    orders: { backend: "postgres", target: url.href, synchronous: "FULL" },
    layer: Layer.provideMerge(stores, pgLayer(url.href)),
    integrity: postgresIntegrity,
    remove: async () => {
      await administer(server.url, `DROP DATABASE ${name} WITH (FORCE)`)
    }
  }
}

// -------------------------------------------------------------------------------------
// rounds
// -------------------------------------------------------------------------------------

export interface Result {
  readonly name: string
  /** Those that hit something, each followed by a check. */
  readonly kills: number
  readonly acknowledged: number
  /** Groups of appends, and kills while a group was in progress. */
  readonly groups: number
  readonly amidst: number
  /** Commands that failed and said that the append may have happened. */
  readonly maybe: number
  /** Commands and loads that failed and said that nothing was done. */
  readonly refused: number
  readonly events: number
  readonly snapshots: number
  readonly seconds: number
  readonly problems: ReadonlyArray<string>
}

/** After so many kills a database is left behind for a new one, so that checks stay short. */
const killsPerDatabase = 25

const pause = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

export const runVariant = async (
  variant: Variant,
  options: {
    readonly kills: number
    readonly seed: number
    readonly onKill?: (() => void) | undefined
  }
): Promise<Result> => {
  const start = performance.now()
  const random = new PCGRandom(options.seed)
  // what is flushed here is flushed, as on a server that has to survive more than the end of a process
  const server = variant.needs === "postgres"
    ? await startServer({ fsync: "on", full_page_writes: "on" })
    : undefined
  const total = { acknowledged: 0, groups: 0, amidst: 0, maybe: 0, refused: 0, events: 0, snapshots: 0 }
  const problems: Array<string> = []
  let writers = 0
  let done = 0
  try {
    while (done < options.kills && problems.length === 0) {
      const database = server === undefined ? sqliteDatabase(variant.synchronous) : await postgresDatabase(server)
      const book = new Book()
      const { fatal, strike } = variant.hit(server)
      const next = () => {
        const writer = startWriter({
          ...database.orders,
          mode: writers % 2 === 0 ? "background" : "sync",
          name: `w${++writers}`,
          seed: Math.floor(random.number() * 2 ** 31),
          streams,
          fibers: variant.groups === true ? 24 : 6,
          connections: 6
        }, book)
        const ready = writer.told("Ready")
        ready.catch(() => {})
        return { ...writer, ready }
      }
      let found: Found = { events: 0, snapshots: 0 }
      let writer = next()
      try {
        for (let n = 0; n < killsPerDatabase && done < options.kills && book.problems.length === 0; n++) {
          await writer.ready
          writer.tell("go")
          // some are hit while they open the database, most while they write, and the first one always
          const early = random.number() < 0.15 && done > 0
          if (early) await pause(random.number() * 60)
          else {
            await writer.told("Ok")
            await pause(random.number() * 250)
            // the moment in which a group is in progress
            if (variant.groups === true) {
              await writer.told("Group")
              await pause(random.number() * 2)
            }
          }
          const amidst = book.unanswered > 0
          const killed = await strike(writer, database)
          if (fatal) {
            if (writer.errors() !== "") book.problems.push(writer.errors())
            if (!killed) book.problems.push(`the writer ended by itself, with ${writer.child.exitCode}`)
            // loads its modules while this one checks
            writer = next()
          } else {
            await pause(random.number() * 100)
            const paused = writer.told("Paused")
            writer.tell("pause")
            await paused
          }
          const checked = await Effect.runPromiseExit(
            Effect.provide(Effect.scoped(check(book, database.integrity)), database.layer)
          )
          if (killed) {
            done++
            if (amidst) total.amidst++
            book.unanswered = 0
            options.onKill?.()
          }
          if (Exit.isSuccess(checked)) found = checked.value
          else book.problems.push(`the check itself failed: ${Cause.pretty(checked.cause)}`)
        }
      } catch (error) {
        book.problems.push(String(error))
      } finally {
        writer.child.kill("SIGKILL")
        await writer.exited
        if (!fatal && writer.errors() !== "") book.problems.push(writer.errors())
      }
      // nothing but the end of a server is a reason to refuse
      if (fatal) {
        for (const [command, error] of book.refused) problems.push(`${command} was refused: ${error}`)
        if (book.maybe > 0) problems.push(`${book.maybe} commands did not know their outcome`)
      }
      problems.push(...book.problems)
      if (variant.groups === true && book.groups === 0) problems.push("no group formed")
      total.acknowledged += book.ok.length
      total.groups += book.groups
      total.maybe += book.maybe
      total.refused += book.refused.size
      total.events += found.events
      total.snapshots += found.snapshots
      await database.remove()
    }
  } finally {
    await server?.close()
  }
  return {
    name: variant.name,
    kills: done,
    ...total,
    seconds: (performance.now() - start) / 1_000,
    problems
  }
}
