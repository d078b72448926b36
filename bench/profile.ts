// npm run bench:profile [-- --write FOLDER]
// where the time of an operation goes, and that of its floor, by the sampling profiler of V8
import { Effect } from "effect"
import { EventStore, ExpectedVersion, Repository, SnapshotPolicy } from "effect-eventsourcing"
import * as fs from "node:fs"
import { type Profiler, Session } from "node:inspector/promises"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { type Backend, work } from "./backend.js"
import { Account, deposit, deposited, evolve, id, initial, newId, seed, streamOf } from "./fixtures.js"
import type { Work } from "./measure.js"
import * as Postgres from "./postgres.js"
import { emptyStream, inserts, repeat, selectSnapshot } from "./rows.js"
import * as Sqlite from "./sqlite.js"

const { values: options } = parseArgs({ options: { write: { type: "string" } } })

const parts = ["library", "reducer", "effect", "@effect/sql", "driver", "node", "garbage", "waiting"] as const
type Part = typeof parts[number]

const partOf = ({ functionName, url }: Profiler.ProfileNode["callFrame"]): Part => {
  if (functionName === "(idle)") return "waiting"
  if (functionName === "(garbage collector)") return "garbage"
  if (url.includes("/node_modules/@effect/")) return "@effect/sql"
  if (url.includes("/node_modules/effect/")) return "effect"
  if (/\/node_modules\/(pg|better-sqlite3|postgres-)/.test(url)) return "driver"
  if (url.includes("/dist/")) return "library"
  if (url.includes("/bench/fixtures")) return "reducer"
  if (url.includes("/bench/")) return "driver"
  return "node"
}

const session = new Session()
session.connect()
await session.post("Profiler.enable")
await session.post("Profiler.setSamplingInterval", { interval: 100 })

const now = () => Number(process.hrtime.bigint() / 1_000n)

/** What a profile counts: all but what is done between the runs. */
interface Profiled {
  readonly run: Work
  readonly times: number
  readonly after?: (() => Promise<unknown>) | undefined
}

/** Microseconds for one run, for how many of them each part was on the stack's top, and the functions most often there. */
const profile = async ({ after, run, times }: Profiled) => {
  const micros = 2_500_000
  const windows: Array<readonly [from: number, until: number]> = []
  const runFor = async () => {
    windows.length = 0
    for (const until = now() + micros; now() < until;) {
      const from = now()
      await run(times)
      windows.push([from, now()])
      await after?.()
    }
  }
  await runFor()
  await session.post("Profiler.start")
  await runFor()
  const { profile: { nodes, samples = [], startTime, timeDeltas = [] } } = await session.post("Profiler.stop")
  const spent = windows.reduce((sum, [from, until]) => sum + until - from, 0)
  const each = spent / (windows.length * times)

  const frames = new Map(nodes.map((node) => [node.id, node.callFrame]))
  const byPart = new Map<Part, number>()
  const byFunction = new Map<string, number>()
  const add = <Key>(to: Map<Key, number>, key: Key, delta: number) => to.set(key, (to.get(key) ?? 0) + delta)
  let total = 0
  let time = startTime
  let window = 0
  for (const [index, sample] of samples.entries()) {
    const delta = timeDeltas[index]
    time += delta
    while (window < windows.length && windows[window][1] < time) window++
    const frame = frames.get(sample)
    if (frame === undefined || window === windows.length || time < windows[window][0]) continue
    total += delta
    add(byPart, partOf(frame), delta)
    if (partOf(frame) !== "waiting") add(byFunction, nameOf(frame), delta)
  }
  const share = (time: number | undefined) => (time ?? 0) / total * each
  return {
    each,
    time: parts.map((part) => share(byPart.get(part))),
    hottest: Array.from(byFunction, ([name, time]) => ({ name, micros: share(time) }))
      .toSorted((a, b) => b.micros - a.micros)
      .slice(0, 12)
  }
}

const nameOf = (frame: Profiler.ProfileNode["callFrame"]): string => {
  const file = frame.url.replace(/^.*\/(?:node_modules|bench|dist)\//, "").replace(/(?:dist\/esm|src)\//, "")
  return `${frame.functionName || "(anonymous)"}${file === "" ? "" : `, ${file}:${frame.lineNumber + 1}`}`
}

const shown = (micros: number) =>
  micros >= 100 ? micros.toFixed(0) : micros >= 10 ? micros.toFixed(1) : micros.toFixed(2)
const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
const table: Array<string> = [
  line(["what", "backend", "microseconds", ...parts]),
  line(["---", "---", ...["", ...parts].map(() => "---:")])
]
/** The functions of an operation that take longest, in a table of their own. */
const functions: Array<string> = []
const add = async (
  name: string,
  backend: Backend,
  run: Work,
  times: number,
  more: { readonly after?: Profiled["after"]; readonly functions?: boolean } = {}
) => {
  const { each, hottest, time } = await profile({ run, times, after: more.after })
  table.push(line([name, backend.name, shown(each), ...time.map(shown)]))
  console.log(table[table.length - 1])
  if (more.functions !== true) return
  functions.push(
    `\n**${name}, ${backend.name}**\n`,
    line(["function", "microseconds"]),
    line(["---", "---:"]),
    ...hottest.map((hot) => line([`\`${hot.name}\``, shown(hot.micros)]))
  )
}

const measure = async (backend: Backend) => {
  const { driver, runtime } = backend
  const stream = streamOf("profiled")
  await runtime.runPromise(seed(stream, 10_000))
  await backend.settle()
  const repository = (snapshots: SnapshotPolicy.SnapshotPolicy) =>
    runtime.runPromise(Effect.scoped(Repository.make(Account, { snapshots })))
  const plain = await repository(SnapshotPolicy.none)
  const manual = await repository(SnapshotPolicy.manual)
  const store = await runtime.runPromise(EventStore.EventStore)
  await runtime.runPromise(manual.createSnapshot(id(stream.id)))

  await add("full replay of 10,000 events", backend, work(runtime, plain.load(id(stream.id))), 1)
  await add("driver, parse, reduce", backend, repeat(() => driver.replay(stream, initial(), evolve)), 1)

  await add("load, snapshot at the head", backend, work(runtime, manual.load(id(stream.id))), 100)
  await add("@effect/sql select", backend, work(runtime, selectSnapshot(stream)), 100)

  const appending = emptyStream("profiled-append")
  let version = 0
  const append = Effect.suspend(() =>
    store.append(appending, [{ id: newId(), type: deposited._tag, payload: deposited }], {
      expectedVersion: ExpectedVersion.exact(version++)
    })
  )
  await add("append of one event", backend, work(runtime, append), 100, { functions: true })
  await add("@effect/sql insert", backend, work(runtime, inserts(emptyStream("profiled-plain"))), 100)
  const raw = emptyStream("profiled-raw")
  let last = 0
  await add("driver insert", backend, repeat(() => driver.insert(raw, ++last, deposited)), 100)

  // each command finds the snapshot of its stream at the head: they are taken anew between the runs
  const snapshotted = Array.from({ length: 100 }, () => emptyStream("profiled-snapshot"))
  await runtime.runPromise(Effect.forEach(snapshotted, (stream) => seed(stream, 20), { discard: true }))
  const takeSnapshots = () =>
    runtime.runPromise(Effect.forEach(snapshotted, (stream) => manual.createSnapshot(id(stream.id)), { discard: true }))
  await takeSnapshots()
  await backend.settle()
  const commands = Effect.forEach(snapshotted, (stream) => manual.execute(id(stream.id), deposit), { discard: true })
  const inTurn: Work = () => runtime.runPromise(commands)
  await add("command, snapshot at the head", backend, inTurn, 100, { after: takeSnapshots, functions: true })

  // the state is cached: what a snapshot close to the head comes to, again and again
  const cached = await runtime.runPromise(Effect.scoped(Repository.make(Account, { cache: { capacity: 10 } })))
  await add("command, cached state", backend, work(runtime, cached.execute(id("profiled-command"), deposit)), 100)
  const both = Effect.zipRight(selectSnapshot(stream), inserts(emptyStream("profiled-both")))
  await add("@effect/sql select and insert", backend, work(runtime, both), 100)

  const streams = Array.from({ length: 16 }, (_, index) => emptyStream(`profiled-writer-${index}`))
  const versions = streams.map(() => 0)
  const writers = Effect.forEach(
    streams,
    (stream, index) =>
      Effect.suspend(() =>
        store.append(stream, [{ id: newId(), type: deposited._tag, payload: deposited }], {
          expectedVersion: ExpectedVersion.exact(versions[index]++)
        })
      ),
    { concurrency: "unbounded", discard: true }
  )
  const sixteen = (run: Work): Work => (times) => run(times / 16)
  await add("append, 16 writers", backend, sixteen(work(runtime, writers)), 160)
  const rawStreams = streams.map(({ id }) => streamOf(`${id}-raw`))
  let written = 0
  const workers = driver.workers(16)
  const rawWriters = repeat(() => workers.insert(rawStreams, ++written, 1, deposited))
  await add("driver insert, 16 writers", backend, sixteen(rawWriters), 160)
  await workers.close()
}

const server = await Postgres.start()
for (const backend of [await Sqlite.open(), await Postgres.open(server.url)]) {
  await measure(backend)
  await backend.close()
}
await server.close()

if (options.write !== undefined) {
  const file = path.join(options.write, "profiles.md")
  const title =
    "# Profiles\n\nMicroseconds for one operation, and for how many of them each part was at work, by the sampling profiler of V8, " +
    "which itself takes its share. What V8 has inlined counts to where it was inlined; " +
    "`node` has the native calls in it, those of SQLite too. The server of PostgreSQL works while the program waits.\n"
  const heading =
    "\n## The functions that take longest\n\nOnce more in microseconds for one operation, without waiting.\n"
  fs.writeFileSync(file, `${title}\n${table.join("\n")}\n${heading}${functions.join("\n")}\n`)
  console.log(`Wrote ${file}`)
}
process.exit()
