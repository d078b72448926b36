import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { once } from "node:events"
import * as net from "node:net"
import pg from "pg"
import { start } from "./process.js"

/** A PostgreSQL server in a process of its own. */
export interface Server {
  readonly url: string
  readonly stop: (mode: "fast" | "immediate") => Promise<void>
  readonly start: () => Promise<void>
  /** Stops the server and removes its files. */
  readonly close: () => Promise<void>
}

/** What a crash of the process cannot lose is kept; nothing here has to survive a power cut. */
const settings = { fsync: "off", full_page_writes: "off", max_connections: "200", log_min_messages: "fatal" }

export const startServer = async (more: Readonly<Record<string, string>> = {}): Promise<Server> => {
  const process = start("test/utils/postgres-server.ts", [JSON.stringify({ ...settings, ...more })], { detached: true })
  const url = await process.next((line) => line.startsWith("postgres://"))
  const tell = async (command: string, answer: string) => {
    process.lines.length = 0
    process.tell(command)
    await process.line(answer)
  }
  return {
    url,
    stop: (mode) => tell(`stop ${mode}`, "stop: done"),
    start: () => tell("start", "start: done"),
    close: async () => {
      process.child.stdin.end()
      if (process.child.exitCode === null) await once(process.child, "close")
    }
  }
}

export const pgClient = (url: string, options: Omit<PgClient.PgClientConfig, "url"> = {}) =>
  PgClient.layer({ url: Redacted.make(url), ...options })

/** A client on a pool of the program's own, with one connection. */
export const poolClient = (url: string, prepare: (pool: pg.Pool) => pg.Pool = (pool) => pool) =>
  PgClient.layerFromPool({
    acquire: Effect.acquireRelease(
      // the server may end a connection of a closed pool, when the database is dropped, before the pool has ended it
      Effect.sync(() => prepare(new pg.Pool({ connectionString: url, max: 1 }).on("error", () => {}))),
      (pool) => Effect.promise(() => pool.end())
    )
  })

// one connection to each server, as long as this process lasts: tests make hundreds of databases
const administrators = new Map<string, Promise<pg.Client>>()

const administer = async (server: string, statement: string): Promise<void> => {
  const connect = async () => {
    const client = new pg.Client({ connectionString: server, stream: () => new net.Socket().unref() })
    client.on("error", () => {}).on("end", () => administrators.delete(server))
    await client.connect()
    return client
  }
  const connecting = administrators.get(server) ?? connect()
  administrators.set(server, connecting)
  await (await connecting).query(statement)
}

export const databaseOn = (server: string, name: string): string => {
  const url = new URL(server)
  url.pathname = name
  return url.href
}

/** The URL of a new database on a server: an empty one, or a copy. It is dropped when the scope closes. */
export const temporaryDatabase = (server: string, template?: string) => {
  const name = `test_${crypto.randomUUID().replaceAll("-", "")}`
  const copy = template === undefined ? "" : ` TEMPLATE ${template} STRATEGY FILE_COPY`
  return Effect.acquireRelease(
    Effect.as(Effect.tryPromise(() => administer(server, `CREATE DATABASE ${name}${copy}`)), databaseOn(server, name)),
    () => Effect.promise(() => administer(server, `DROP DATABASE ${name} WITH (FORCE)`))
  )
}
