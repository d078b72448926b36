// runs the workers of one database, kills and freezes them, and checks what they said when all have ended
import { type SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Redacted } from "effect"
import { Projection, Sqlite, SqlStores } from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as readline from "node:readline"
import { nodeArguments } from "../../utils/compile.js"
import { startServer } from "../../utils/postgres.js"
import { Book, check } from "./check.js"
import { createLedger, Ledger } from "./ledger.js"
import type { Orders, Said } from "./protocol.js"

export interface Result {
  readonly name: string
  readonly kills: number
  readonly freezes: number
  readonly counts: Readonly<Record<Said["_tag"], number>>
  /** How many of the truncations removed the events. */
  readonly removals: number
  readonly streams: number
  readonly seconds: number
  readonly problems: ReadonlyArray<string>
}

const pause = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

const startWorker = (orders: Orders, book: Book) => {
  const child = childProcess.spawn(
    process.execPath,
    [...nodeArguments("test/crash/streams/worker.ts"), JSON.stringify(orders)],
    { stdio: ["pipe", "pipe", "pipe"] }
  )
  let errors = ""
  let isReady = false
  let isPaused = false
  child.stderr.on("data", (chunk) => errors += String(chunk))
  // a worker that was killed reads no more
  child.stdin.on("error", () => {})
  readline.createInterface({ input: child.stdout }).on("line", (line) => {
    // the last line may be cut off in the middle: it was not said
    if (!line.endsWith("}")) return
    const said: Said = JSON.parse(line)
    isReady ||= said._tag === "Ready"
    isPaused ||= said._tag === "Paused"
    if (said._tag === "Bad") book.problems.push(said.problem)
    book.said.push(said)
  })
  const exited = new Promise<void>((resolve) => child.on("close", () => resolve()))
  return {
    child,
    ready: async () => {
      for (let waited = 0; !isReady && waited < 60_000 && child.exitCode === null; waited += 20) await pause(20)
      if (!isReady) book.problems.push(`a worker did not begin within a minute: ${errors}`)
    },
    kill: async () => {
      child.kill("SIGKILL")
      await exited
      if (errors !== "") book.problems.push(errors)
    },
    /** Ends what the worker does, and then the worker. */
    end: async () => {
      child.stdin.write("pause\n")
      for (let waited = 0; !isPaused && waited < 60_000; waited += 20) await pause(20)
      if (!isPaused) book.problems.push("a worker did not end its operations within a minute")
      child.kill("SIGKILL")
      await exited
      if (errors !== "") book.problems.push(errors)
    }
  }
}

const workers = 3

export const run = async (backend: "sqlite" | "postgres", options: {
  readonly hits: number
  readonly seed: number
  readonly onHit?: (() => void) | undefined
}): Promise<Result> => {
  const start = performance.now()
  const random = new PCGRandom(options.seed)
  const below = (n: number) => Math.floor(random.number() * n)
  const server = backend === "postgres" ? await startServer() : undefined
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "crash-"))
  const target = server?.url ?? path.join(folder, "streams.db")
  const book = new Book()
  let [kills, freezes, started] = [0, 0, 0]
  const next = () => startWorker({ backend, target, name: `w${++started}`, seed: below(2 ** 31), slots: 8 }, book)
  const client: Layer.Layer<SqlClient.SqlClient, unknown> = server === undefined
    ? Sqlite.layer(SqliteClient.layer, { filename: target })
    : PgClient.layer({ url: Redacted.make(target), maxConnections: 4 })
  const live = Projection.layer(Ledger, { partitions: 2, lease: "1 second", maxDelay: "50 millis" }).pipe(
    Layer.provideMerge(SqlStores.layer),
    Layer.provideMerge(Layer.effectDiscard(createLedger)),
    Layer.provideMerge(client)
  )
  const running = Array.from({ length: workers }, next)
  try {
    while (kills + freezes < options.hits && book.problems.length === 0) {
      const index = below(workers)
      const worker = running[index]
      // some are hit while they open the database, most while they work
      if (below(8) > 0) await worker.ready()
      await pause(300 + below(1_200))
      if (worker.child.exitCode !== null) book.problems.push(`a worker ended with ${worker.child.exitCode}`)
      if (below(3) > 0) {
        await worker.kill()
        running[index] = next()
        kills++
      } else {
        // longer than the lease, and shorter than the others wait for a lock of SQLite
        worker.child.kill("SIGSTOP")
        await pause(500 + below(2_000))
        worker.child.kill("SIGCONT")
        freezes++
      }
      options.onHit?.()
    }
    await Promise.all(running.map((worker) => worker.ready()))
    await pause(1_000)
    await Promise.all(running.map((worker) => worker.end()))
    const checked = await Effect.runPromiseExit(
      // snapshots that were saved late are refused, and logged
      Effect.provide(Effect.scoped(check(book)), live).pipe(Logger.withMinimumLogLevel(LogLevel.None))
    )
    if (Exit.isFailure(checked)) book.problems.push(`the check itself failed: ${Cause.pretty(checked.cause)}`)
  } finally {
    await Promise.all(running.map((worker) => worker.kill()))
    await server?.close()
    fs.rmSync(folder, { recursive: true, force: true })
  }
  const count = (tag: Said["_tag"]) => book.said.filter(({ _tag }) => _tag === tag).length
  return {
    name: backend === "sqlite" ? "SQLite" : "PostgreSQL",
    kills,
    freezes,
    counts: {
      Ready: count("Ready"),
      Paused: count("Paused"),
      Executed: count("Executed"),
      Repeated: count("Repeated"),
      Loaded: count("Loaded"),
      Refused: count("Refused"),
      Changing: count("Changing"),
      Deleted: count("Deleted"),
      Rewritten: count("Rewritten"),
      Truncated: count("Truncated"),
      Gapped: count("Gapped"),
      Failed: count("Failed"),
      Bad: count("Bad")
    },
    removals: book.said.filter((line) => line._tag === "Truncated" && line.removes).length,
    streams: new Set(book.said.flatMap((line) => "stream" in line ? [line.stream] : [])).size,
    seconds: (performance.now() - start) / 1_000,
    problems: book.problems
  }
}
