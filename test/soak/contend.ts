import { SqliteClient } from "@effect/sql-sqlite-node"
import Database from "better-sqlite3"
import { Effect, Layer } from "effect"
import { Sqlite, SqlStores } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import * as path from "node:path"
import * as readline from "node:readline"
import { nodeArguments } from "../utils/compile.js"
import type { Way } from "./writers.js"

const processes = 2
const writersEach = 8

const startProcess = (args: ReadonlyArray<string>) => {
  const program = nodeArguments("test/soak/writers.ts")
  const child = childProcess.spawn(process.execPath, [...program, ...args], { stdio: ["pipe", "pipe", "pipe"] })
  let errors = ""
  child.stderr.on("data", (chunk) => errors += String(chunk))
  let done: number | undefined
  const ready = new Promise<void>((resolve) => {
    readline.createInterface({ input: child.stdout }).on("line", (line) => {
      if (line === "ready") resolve()
      else done = Number(line.slice("done ".length))
    })
    child.on("close", () => resolve())
  })
  const closed = new Promise<void>((resolve) => child.on("close", () => resolve()))
  return { child, ready, ended: closed.then(() => ({ done, errors })) }
}

/** Two processes of eight writers each on one file: through the driver alone, as appends, and as whole commands. */
export const contend = async (folder: string, seconds: number): Promise<{
  readonly table: ReadonlyArray<ReadonlyArray<string>>
  readonly problems: ReadonlyArray<string>
}> => {
  const problems: Array<string> = []
  const rates: Array<readonly [way: Way, events: number]> = []
  for (const way of ["driver", "append", "execute"] as const) {
    const file = path.join(folder, `writers-${way}.db`)
    const layer = SqlStores.layer.pipe(
      Layer.provide(Sqlite.layer(SqliteClient.layer, { filename: file, synchronous: "NORMAL" }))
    )
    await Effect.runPromise(Effect.scoped(Layer.build(layer)))
    const all = Array.from(
      { length: processes },
      (_, n) => startProcess([file, way, `p${n}`, String(seconds), String(writersEach)])
    )
    await Promise.all(all.map(({ ready }) => ready))
    for (const { child } of all) child.stdin.write("go\n")
    for (const { ended } of all) {
      const { done, errors } = await ended
      if (done === undefined || errors !== "") problems.push(`${way}: ${errors}`)
    }
    const db = new Database(file, { readonly: true })
    const streams = db.prepare<[], { n: number; last: number; first: number }>(
      "SELECT count(*) AS n, max(version) AS last, min(version) AS first FROM eventsourcing_events GROUP BY stream_id"
    ).all()
    db.close()
    if (streams.length !== processes * writersEach) problems.push(`${way}: ${streams.length} streams`)
    if (streams.some(({ first, last, n }) => first !== 1 || last !== n)) problems.push(`${way}: a hole in a stream`)
    rates.push([way, streams.reduce((sum, { n }) => sum + n, 0)])
  }
  const [[, floor]] = rates
  const names = { driver: "better-sqlite3 alone", append: "EventStore.append", execute: "Repository.execute" }
  return {
    problems,
    table: rates.map(([way, events]) => [
      names[way],
      events.toLocaleString("en"),
      Math.round(events / seconds).toLocaleString("en"),
      `${Math.round((100 * events) / floor)} %`
    ])
  }
}
