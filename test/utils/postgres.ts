import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { once } from "node:events"
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
  const process = start("./postgres-server.ts", [JSON.stringify({ ...settings, ...more })], { detached: true })
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

/** The URL of a new database on a server. It is dropped when the scope closes. */
export const temporaryDatabase = (server: string) => {
  const name = `test_${crypto.randomUUID().replaceAll("-", "")}`
  const administer = (statement: string) =>
    Effect.flatMap(PgClient.PgClient, (sql) => sql.unsafe(statement)).pipe(
      Effect.provide(Layer.fresh(pgClient(server, { maxConnections: 1 })))
    )
  return Effect.acquireRelease(
    Effect.map(administer(`CREATE DATABASE ${name}`), () => {
      const url = new URL(server)
      url.pathname = name
      return url.href
    }),
    () => Effect.orDie(administer(`DROP DATABASE ${name} WITH (FORCE)`))
  )
}
