import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as path from "node:path"
import pg from "pg"
import { type AccountEvent, decide, deposit, deposited, eventAt, evolve, initial, newId } from "../fixtures.js"
import type { Peer } from "../peer.js"

const database = path.join(
  path.dirname(createRequire(import.meta.url).resolve("@eventide/message-db/package.json")),
  "database"
)

/** What its install.sh runs, in that order. */
const install = async (url: string) => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const run = async (...files: ReadonlyArray<string>) => {
    for (const file of files) await client.query(fs.readFileSync(path.join(database, file), "utf8"))
  }
  const listed = (script: string) =>
    Array.from(fs.readFileSync(path.join(database, script), "utf8").matchAll(/\$base\/(\S+\.sql)/g), ([, file]) => file)
  await run("roles/message-store.sql", "schema/message-store.sql", "extensions/pgcrypto.sql", "tables/messages.sql")
  for (const script of ["functions", "indexes", "views", "privileges"]) await run(...listed(`install-${script}.sh`))
  await client.end()
}

/** The functions are its whole interface: they are called through `pg`, prepared. */
export const onPostgres = async (url: string): Promise<Peer> => {
  await install(url)
  const pool = new pg.Pool({ connectionString: url, max: 16, options: "-c search_path=message_store,public" })
  pool.on("error", () => {})
  const write = (client: pg.Pool | pg.PoolClient, stream: string, version: number, event: AccountEvent) =>
    client.query({
      name: "write_message",
      text: "SELECT write_message($1, $2, $3, $4, $5, $6)",
      // its versions begin with 0; -1 is a stream without messages
      values: [newId(), `account-${stream}`, event._tag, JSON.stringify(event), null, version - 1]
    })
  // it writes one message at a time: more are atomic in a transaction
  const append = async (stream: string, version: number, events: ReadonlyArray<AccountEvent>) => {
    if (events.length === 1) {
      await write(pool, stream, version, events[0])
      return
    }
    const client = await pool.connect()
    try {
      await client.query("BEGIN")
      for (const [index, event] of events.entries()) await write(client, stream, version + index, event)
      await client.query("COMMIT")
    } finally {
      client.release()
    }
  }
  const page = async (stream: string, version: number) => {
    const { rows } = await pool.query<{ data: string }>({
      name: "get_stream_messages",
      text: "SELECT * FROM get_stream_messages($1, $2, $3)",
      values: [`account-${stream}`, version, 1_000]
    })
    return rows
  }
  const fold = async (stream: string) => {
    let state = initial()
    let version = 0
    for (;;) {
      const rows = await page(stream, version)
      for (const { data } of rows) state = evolve(state, JSON.parse(data))
      version += rows.length
      if (rows.length < 1_000) return { state, version }
    }
  }
  return {
    name: "message-db",
    backend: "PostgreSQL",
    seed: async (stream, events) => {
      for (let version = 0; version < events; version += 1_000) {
        const page = Array.from({ length: Math.min(1_000, events - version) }, (_, i) => eventAt(version + i + 1))
        await append(stream, version, page)
      }
    },
    load: fold,
    read: async (stream) => (await page(stream, 0)).map((row) => ({ ...row, data: JSON.parse(row.data) })),
    append: (stream, version, events) => append(stream, version, Array.from({ length: events }, () => deposited)),
    command: async (stream) => {
      const { state, version } = await fold(stream)
      await append(stream, version, decide(state, deposit))
    },
    close: () => pool.end()
  }
}
