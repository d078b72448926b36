// a person is erased while two processes work with their data, then everything is searched for it
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { freePort } from "../cluster/fixture.js"
import { pause, within } from "../crash/cluster/processes.js"
import { compile } from "../utils/compile.js"
import { pgClient, startServer, temporaryDatabase } from "../utils/postgres.js"
import { start } from "../utils/process.js"
import { sqliteFile, temporaryFolder } from "../utils/stores.js"
import { erased, type Fault, faults, type Order, type Orders, type Said, subjects, timeToLive } from "./protocol.js"
import { find, formsOf, inFiles, inTables } from "./search.js"

const random = () => crypto.randomUUID().replaceAll("-", "")

const startChild = (orders: Orders) => {
  const child = start("test/erasure/child.ts", [JSON.stringify(orders)])
  const said = (): ReadonlyArray<Said> =>
    child.lines.flatMap((line): ReadonlyArray<Said> => line.endsWith("}") ? [JSON.parse(line)] : [])
  const answer = <Tag extends Said["_tag"]>(tag: Tag): Promise<Extract<Said, { readonly _tag: Tag }>> =>
    within(
      120_000,
      `${orders.name} says ${tag}: ${child.errors()}`,
      child.next((line) => line.includes(`"_tag":"${tag}"`)).then((line) => JSON.parse(line))
    )
  return {
    said,
    answer,
    tell: (order: Order) => void child.tell(order),
    ready: () => answer("Ready"),
    output: () => `${child.lines.join("\n")}\n${child.errors()}`,
    bad: () => said().flatMap((line) => line._tag === "Bad" ? [line.problem] : []),
    kill: async () => {
      child.child.kill("SIGKILL")
      await child.exited
    }
  }
}

type Child = ReturnType<typeof startChild>

const done = (child: Child) => child.said().flatMap((line) => line._tag === "Done" ? [line] : [])

/** Waits until a process has done something as often. It may be slow, but not stand still. */
const worked = async (child: Child, times: number) => {
  const until = done(child).length + times
  for (let [seen, changed] = [0, Date.now()]; seen < until; await pause(20)) {
    const now = done(child).length
    if (now > seen) [seen, changed] = [now, Date.now()]
    if (Date.now() - changed > 120_000) {
      throw new Error(`it stands still: ${child.bad().join("\n")} ${child.output().slice(-2_000)}`)
    }
  }
}

/** A busy machine needs minutes for a story. */
const mostTime = 1_200_000

interface Place {
  readonly database: string
  readonly client: Layer.Layer<SqlClient.SqlClient, unknown>
  /** The folder of the files of the database. */
  readonly files: string
  readonly inCluster: boolean
}

interface Options {
  readonly fault?: Fault | undefined
}

/** Runs the whole story, and gives what is wrong. */
const story = ({ client, database, files, inCluster }: Place, { fault }: Options) =>
  Effect.gen(function*() {
    const secrets = { name: `Zoë "${random()}" d'Été`, street: `${random()} Straße 7` }
    const words = [/\w{32}/.exec(secrets.name)?.[0] ?? "", secrets.street.slice(0, 32)]
    const folder = yield* temporaryFolder
    const sql = yield* Layer.build(client)
    const ordersOf = (name: string, port: number | undefined, index: number): Orders => ({
      database,
      port,
      folder,
      name,
      snapshots: index === 0 ? "sync" : "background",
      seed: 7 + index,
      secrets,
      fault
    })
    const ports = yield* Effect.all([freePort, freePort])
    const children: Array<Child> = []
    const startNext = (index: number) => {
      const port = inCluster ? ports[index] : undefined
      const child = startChild(ordersOf(`process-${children.length}`, port, index))
      children.push(child)
      return child
    }
    yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all(children.map((child) => child.kill()))))
    const problems: Array<string> = []
    const note = (when: string, found: ReadonlyArray<string>) => {
      for (const one of new Set(found)) problems.push(`${when}: ${one}`)
    }
    const inEverything = (isSearched?: (table: string) => boolean) =>
      Effect.gen(function*() {
        const tables = yield* Effect.flatMap(SqlClient.SqlClient, (sql) => inTables(sql, words, isSearched)).pipe(
          Effect.provide(sql)
        )
        const output = children.flatMap((child, index) =>
          find(`the output of process ${index}`, Buffer.from(child.output()), words)
        )
        return { rows: tables.rows, found: [...tables.found, ...inFiles(folder, words), ...output] }
      })

    // 1. two processes work
    const one = startNext(0)
    yield* Effect.promise(() => one.ready())
    const two = startNext(1)
    yield* Effect.promise(() => two.ready())
    one.tell("go")
    two.tell("go")
    yield* Effect.promise(() => Promise.all([worked(one, 120), worked(two, 120)]))
    note("under load", (yield* inEverything()).found)

    // 2. nothing is in clear in the files of the database, before a read model shows it
    note("in the files", inFiles(files, words))

    if (fault !== undefined && problems.length > 0) {
      return { problems, rows: new Map(), outcomes: new Set(), words, late: 0 }
    }

    // 3. a read model shows it
    one.tell("cards")
    yield* Effect.promise(() => one.answer("Cards"))
    const isNoCard = (table: string) => !table.includes("cards_")
    const shown = (yield* inEverything()).found.filter((place) => place.includes("cards_1"))
    if (shown.length === 0) problems.push("the read model does not show the name, so the search finds nothing")
    note("beside the read model", (yield* inEverything(isNoCard)).found)

    // 4. one of the processes dies with messages in flight, and the person is erased
    yield* Effect.promise(() => two.kill())
    const three = startNext(1)
    yield* Effect.promise(() => three.ready())
    three.tell("go")
    yield* Effect.promise(() => worked(three, 60))
    three.tell("erase")
    const { at, hadKeys } = yield* Effect.promise(() => three.answer("Erased"))
    if (!hadKeys) problems.push("there were no keys")
    yield* Effect.promise(() => Promise.all([worked(one, 120), worked(three, 120)]))
    one.tell("erase")
    const again = yield* Effect.promise(() => one.answer("Erased"))
    if (again.hadKeys) problems.push("the second erasure found keys")
    for (const child of [one, three]) child.tell("pause")
    yield* Effect.promise(() => Promise.all([one.answer("Paused"), three.answer("Paused")]))

    // 5. no process has answered with the data after the bound
    let late = 0
    const outcomes = new Set<string>()
    for (const child of children) {
      for (const { began, id, outcome, what } of done(child)) {
        outcomes.add(`${what}: ${typeof outcome === "string" ? outcome : outcome.error}`)
        if (subjects[id] !== erased || began <= at + timeToLive) continue
        late++
        if (outcome === "present" && what !== "broken") {
          problems.push(`${what} of ${id} showed the data after the bound`)
        }
        if (what === "register" && outcome === "erased") continue
        if (what === "register" && typeof outcome === "string") problems.push(`a late ${what} of ${id} was accepted`)
      }
      problems.push(...child.bad())
    }
    if (late < 50) problems.push(`only ${late} answers came after the bound`)

    // 6. the read model is rebuilt, and the data is nowhere
    one.tell("rebuild")
    yield* Effect.promise(() => one.answer("Rebuilt"))
    const after = yield* inEverything()
    note("after the erasure", after.found)
    const keys = yield* Effect.flatMap(
      SqlClient.SqlClient,
      (sql) =>
        sql<{ readonly subject: string; readonly keys: string | null }>`SELECT subject, keys FROM eventsourcing_keys`
    ).pipe(
      Effect.provide(sql)
    )
    const row = keys.find(({ subject }) => subject === erased)
    if (row?.keys !== null) problems.push(`the erased subject has ${row === undefined ? "no fence" : "keys"}`)

    // 7. a fresh process replays, and sees the same as by snapshots
    yield* Effect.promise(() => Promise.all([one.kill(), three.kill()]))
    const four = startNext(0)
    yield* Effect.promise(() => four.ready())
    four.tell("check")
    const checked = yield* Effect.promise(() => four.answer("Checked"))
    problems.push(...checked.problems)
    note("in a fresh process", (yield* inEverything()).found)
    if (fault === undefined) {
      const texts = fs.readdirSync(folder).filter((file) => file.endsWith(".sent")).map((file) =>
        fs.readFileSync(path.join(folder, file), "utf8")
      )
      if (!texts.some((text) => text.includes("\"sealed\":"))) problems.push("no sink was given sealed data")
      if (texts.some((text) => text.includes("\"value\":"))) problems.push("a sink was given data in clear")
    }
    yield* Effect.promise(() => four.kill())
    return { problems: Array.from(new Set(problems)), rows: after.rows, outcomes, words, late }
  })

const sqlite: Effect.Effect<Place, unknown, Scope.Scope> = Effect.map(temporaryFolder, (files) => {
  const database = path.join(files, "erasure.db")
  return { database, files, client: sqliteFile(database), inCluster: false }
})

/** A server of its own, which logs every statement with its values. */
const postgres: Effect.Effect<Place, unknown, Scope.Scope> = Effect.gen(function*() {
  const server = yield* Effect.acquireRelease(
    Effect.promise(() => startServer({ log_statement: "all", logging_collector: "on", log_min_messages: "warning" })),
    (server) => Effect.promise(() => server.close())
  )
  const database = yield* temporaryDatabase(server.url)
  const client = pgClient(database, { maxConnections: 3 })
  const files = yield* Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql<{ readonly data_directory: string }>`SHOW data_directory`
  ).pipe(Effect.provide(client))
  return { database, client, files: files[0].data_directory, inCluster: true }
})

/** Before the erasure, and after it: with an archive, and without. */
const ofTruncations = ["truncate: present", "truncate: erased", "verify: HistoryGap"]

/** What is said about each fault. */
const signs: Readonly<Record<Fault, RegExp>> = {
  "no fence": /^the erased subject has (keys|no fence)$/,
  "keys for an hour": /showed the data after the bound$/,
  "a name in metadata": /in "eventsourcing_events", clear$/,
  "a name in a log line": /in process-\d\.log, clear$/
}

describe("the search", () => {
  it("finds a word in each of its forms, wherever it stands", () => {
    const word = random()
    for (const before of ["", "a", "ab", "abc", "{\"x\":\""]) {
      const text = `${before}${word} and more`
      for (
        const hidden of [
          text,
          JSON.stringify(JSON.stringify({ text })),
          encodeURIComponent(text),
          Buffer.from(text).toString("base64"),
          Buffer.from(text).toString("base64url"),
          Buffer.from(text).toString("hex"),
          text.toUpperCase()
        ]
      ) assert.isNotEmpty(find("here", Buffer.from(`...${hidden}...`), [word]), hidden)
    }
    assert.isNotEmpty(find("here", Buffer.from(word, "utf16le"), [word]))
    assert.deepStrictEqual(find("here", Buffer.from(random()), [word]), [])
    assert.isAtLeast(formsOf(word).length, 8)
  })
})

describe("a person who is erased while two processes work with their data", () => {
  it.scopedLive(
    "is found in no table, file, log, span or message: two processes on a file of SQLite",
    () =>
      Effect.gen(function*() {
        yield* Effect.promise(compile)
        const place = yield* sqlite
        const { late, outcomes, problems, words } = yield* story(place, {})
        assert.deepStrictEqual(problems, [])
        assert.isAbove(late, 50)
        for (
          const outcome of ["register: present", "load: present", "load: erased", "refused: Refused", ...ofTruncations]
        ) {
          assert.isTrue(outcomes.has(outcome), `${outcome} among ${Array.from(outcomes).join(", ")}`)
        }
        // pages that were freed are overwritten, because the key store has turned on secure_delete
        yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`PRAGMA wal_checkpoint(TRUNCATE)`).pipe(
          Effect.provide(place.client)
        )
        assert.deepStrictEqual(inFiles(place.files, words), [])
        yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`VACUUM`).pipe(Effect.provide(place.client))
        assert.deepStrictEqual(inFiles(place.files, words), [])
        assert.isAbove(fs.statSync(place.database).size, 10_000)
      }),
    mostTime
  )

  it.scopedLive(
    "is found in no table, file, log, span or message: two runners of a cluster on PostgreSQL",
    () =>
      Effect.gen(function*() {
        yield* Effect.promise(compile)
        const { outcomes, problems, rows } = yield* story(yield* postgres, {})
        assert.deepStrictEqual(problems, [])
        for (const table of ["events", "archive", "snapshots", "parked", "cluster_messages", "cluster_replies"]) {
          assert.isAbove(rows.get(`public.eventsourcing_${table}`) ?? 0, 0, table)
        }
        for (const outcome of ["register: present", "load: erased", "refused: Refused", ...ofTruncations]) {
          assert.isTrue(outcomes.has(outcome), `${outcome} among ${Array.from(outcomes).join(", ")}`)
        }
      }),
    mostTime
  )

  for (const fault of faults) {
    it.scopedLive(`is found if something is broken on purpose: ${fault}`, () =>
      Effect.gen(function*() {
        yield* Effect.promise(compile)
        const { problems } = yield* story(yield* sqlite, { fault })
        assert.isTrue(problems.some((problem) => signs[fault].test(problem)), problems.join("\n"))
      }), mostTime)
  }
})
