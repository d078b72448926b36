import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pack, root, run } from "../utils/npm.js"
import { tsc } from "../utils/tsc.js"

const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"))
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "package-test-"))
/**
 * A project that has the packed tarball and these packages with all that they need, and nothing else. They are linked
 * from this project's own installation, so that no network is needed.
 */
const consumer = async (name: string, tarball: string, packages: ReadonlyArray<string>): Promise<string> => {
  const project = path.join(folder, name)
  const modules = path.join(project, "node_modules")
  fs.mkdirSync(path.join(modules, "effect-eventsourcing"), { recursive: true })
  await run("tar", ["-xzf", tarball, "--strip-components=1", "-C", path.join(modules, "effect-eventsourcing")], project)
  fs.writeFileSync(path.join(project, "package.json"), JSON.stringify({ name, type: "module" }))
  const wanted = [...packages, ...Object.keys(manifest.dependencies)]
  const seen = new Set<string>()
  for (let next = wanted.pop(); next !== undefined; next = wanted.pop()) {
    const source = path.join(root, "node_modules", next)
    if (seen.has(next) || !fs.existsSync(source)) continue
    seen.add(next)
    fs.mkdirSync(path.dirname(path.join(modules, next)), { recursive: true })
    fs.symlinkSync(source, path.join(modules, next), "junction")
    const { dependencies = {} } = JSON.parse(fs.readFileSync(path.join(source, "package.json"), "utf8"))
    wanted.push(...Object.keys(dependencies))
  }
  return project
}

const peers = ["effect", "@effect/sql", "@effect/platform", "@effect/experimental"]

const program = `
import * as Everything from "effect-eventsourcing"
import { Effect, Layer } from "effect"
import * as EventStore from "effect-eventsourcing/EventStore"
import { EventStoreContract } from "effect-eventsourcing/testing"
if (Everything.EventStore.EventStore !== EventStore.EventStore) throw new Error("two copies")
if (EventStoreContract.cases().length === 0) throw new Error("no cases")
const closed = await import("effect-eventsourcing/internal/json").then(() => "open", (error) => error.code)
const version = await Effect.runPromise(Effect.provide(
  Effect.flatMap(EventStore.EventStore, (store) => store.version({ aggregate: "A", id: "a" })),
  EventStore.layerMemory
))
const sqlite = await import("better-sqlite3").then(() => "there", (error) => error.code)
console.log(JSON.stringify({ modules: Object.keys(Everything), closed, version, sqlite }))
`

describe("the packed package", () => {
  let tarball = ""
  beforeAll(async () => {
    tarball = await pack(folder, { checked: true })
  })
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  for (
    const [name, drivers] of [["no-driver", []], ["postgres-only", ["@effect/sql-pg"]]] as const
  ) {
    it(
      `is imported with ${name}, and better-sqlite3 is not there`,
      async () => {
        const project = await consumer(name, tarball, [...peers, ...drivers])
        fs.writeFileSync(path.join(project, "main.js"), program)
        const printed = JSON.parse(await run(process.execPath, ["main.js"], project))
        assert.deepInclude(printed, {
          closed: "ERR_PACKAGE_PATH_NOT_EXPORTED",
          version: 0,
          sqlite: "ERR_MODULE_NOT_FOUND"
        })
        assert.includeMembers(printed.modules, ["Aggregate", "EventStore", "SnapshotStore", "Repository"])
      }
    )
  }

  it("has a command line, which says what to install", async () => {
    const of = (project: string) =>
      path.join(project, "node_modules", "effect-eventsourcing", manifest.bin["effect-eventsourcing"])
    const bare = await consumer("bare", tarball, peers)
    const failure = await run(process.execPath, [of(bare), "--version"], bare).then(() => "", String)
    assert.match(failure, /needs more packages: npm install @effect\/cli@/)

    const printers = ["@effect/printer", "@effect/printer-ansi", "@effect/typeclass"]
    const node = [
      "@effect/platform-node",
      "@effect/platform-node-shared",
      "@effect/cluster",
      "@effect/rpc",
      "@effect/workflow"
    ]
    const whole = await consumer("whole", tarball, [
      ...peers,
      "@effect/cli",
      ...printers,
      ...node,
      "@effect/sql-sqlite-node"
    ])
    assert.include(await run(process.execPath, [of(whole), "--version"], whole), manifest.version)
    const noFile = await run(process.execPath, [of(whole), "streams", "--url", "none.db"], whole).then(() => "", String)
    assert.match(noFile, /effect-eventsourcing: there is no database file/)
  })

  it("contains exactly the expected files", async () => {
    const files = (await run("tar", ["-tzf", tarball], folder)).trim().split("\n")
    assert.include(files, "package/dist/index.js")
    assert.include(files, "package/dist/index.d.ts")
    assert.include(files, "package/LICENSE")
    assert.isTrue(
      files.every((file) => /^package\/(dist|src|package\.json|README\.md|CHANGELOG\.md|LICENSE)/.test(file))
    )
  })

  it("has types that a strict consumer compiles, with every error in its place", async () => {
    const project = await consumer("types", tarball, [...peers, "@types/node", "undici-types"])
    fs.writeFileSync(
      path.join(project, "main.ts"),
      `import { Aggregate, EventStore, Repository } from "effect-eventsourcing"
import { Effect, Either, Schema } from "effect"
const Counted = Schema.TaggedStruct("Counted", {})
const A = Aggregate.make({ name: "A", id: Schema.String, state: Schema.Int, event: Counted, command: Schema.Int,
  initial: () => 0, evolve: (n) => n + 1,
  decide: (_state, command) => command > 1 ? Either.left("TooMuch" as const) : Either.right([{ _tag: "Counted" }]) })
declare const repository: Repository.Repository<typeof A>
type Equals<X, Y> = (<T>() => T extends X ? 1 : 2) extends (<T>() => T extends Y ? 1 : 2) ? true : false
type LoadErrors = EventStore.EventDecodeError | EventStore.HistoryGap | EventStore.EventStoreError |
  EventStore.StreamDeleted | Repository.HistoryRewritten | Repository.IdEncodeError | Repository.ReplayTooLong
const execute = repository.execute("a", 1)
export const executes: Equals<Effect.Effect.Error<typeof execute>, "TooMuch" | EventStore.VersionConflict |
  EventStore.InlineProjectionError | Repository.InvalidCommand | Repository.InvalidCommandId |
  Repository.EventEncodeError | LoadErrors> = true
const load = repository.load("a")
export const loads: Equals<Effect.Effect.Error<typeof load>,
  LoadErrors> = true
`
    )
    const stdout = await tsc([
      ...["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--module", "nodenext"],
      ...["--types", "node", "--lib", "es2023,dom,dom.iterable", "main.ts"]
    ], project)
    // the declarations of other packages are not ours to mend
    const ours = stdout.split("\n").filter((line) => /^(main\.ts|node_modules\/effect-eventsourcing)/.test(line))
    assert.deepStrictEqual(ours, [])
  })

  it("the declarations of a program that uses it name its public modules alone", async () => {
    const project = await consumer("declarations", tarball, [...peers, "@types/node", "undici-types"])
    fs.writeFileSync(
      path.join(project, "main.ts"),
      `import { Aggregate, Event, EventStore, ExpectedVersion, Metrics, Position, Repository, Snapshot, SnapshotPolicy,
  SnapshotStore, SqlEventStore, SqlMigrations, SqlSnapshotStore, SqlStores, StreamId, Versions } from "effect-eventsourcing"
import { AggregateLaws, AggregateTest, EventStoreContract, Faults, RecordingStores } from "effect-eventsourcing/testing"
import { Effect, Either, Schema } from "effect"
class Counted extends Schema.TaggedClass<Counted>()("Counted", { by: Schema.Int }) {}
class Count extends Schema.TaggedClass<Count>()("Count", { by: Schema.Int }) {}
class Refused extends Schema.TaggedError<Refused>()("Refused", { reason: Schema.String }) {}
const common = { id: Schema.String, state: Schema.Struct({ sum: Schema.Int }), event: Counted, command: Count,
  initial: () => ({ sum: 0 }) }
export const Functions = Aggregate.make({ ...common, name: "Functions", rejection: Refused,
  evolve: (state, event) => ({ sum: state.sum + event.by }),
  decide: (_state, command) => command.by < 0 ? Either.left(new Refused({ reason: "less" })) : Either.right([new Counted(command)]) })
export const Handlers = Aggregate.make({ ...common, name: "Handlers",
  evolve: { Counted: (state, event) => ({ sum: state.sum + event.by }) },
  decide: { Count: (_state, command) => command.by < 0 ? Either.left("less" as const) : Either.right([new Counted(command)]) } })
export const command = Functions.schemas.command
export const repository = Repository.make(Functions, { snapshots: SnapshotPolicy.background({ every: 10 }) })
export const handled = Repository.make(Handlers)
export class Service extends Effect.Service<Service>()("Service", { scoped: Repository.make(Handlers) }) {}
export const executed = Effect.flatMap(handled, (handlers) => handlers.execute("a", new Count({ by: 1 })))
export const loaded = Effect.flatMap(repository, (functions) => functions.load("a"))
export const verified = Effect.flatMap(repository, (functions) => functions.verify("a"))
export const created = Effect.flatMap(repository, (functions) => functions.createSnapshot("a"))
export const history = Effect.map(repository, (functions) => functions.history("a"))
export const decode = Aggregate.decoder(Functions, Handlers)
export const decodeOne = (event: Event.RecordedEvent) => Aggregate.decodeRecorded(Functions, event)
export const decided = Aggregate.decide(Functions, { sum: 0 }, [new Count({ by: 1 })])
export const store = EventStore.makeMemory
export const page = Effect.flatMap(EventStore.EventStore, ({ readPage }) => readPage({ partition: { index: 0, of: 2 } }))
export const streams = Effect.flatMap(EventStore.EventStore, (store) => store.streams({ aggregate: "A", limit: 1 }))
export const found = Effect.flatMap(EventStore.EventStore, (store) => store.find(["a"]))
export const appended = Effect.flatMap(EventStore.EventStore, (store) =>
  store.append(StreamId.make("A", "a"), [], { expectedVersion: ExpectedVersion.any }))
export const stores = [SqlStores.layer, SqlEventStore.layerWith({}), SqlSnapshotStore.layerWith({}), SqlMigrations.run()]
export const laws = AggregateLaws.laws(Functions)
export const tested = AggregateTest
export const contract = EventStoreContract.cases()
export const faults = Faults.seeded({ seed: 1, rate: 0.1, faults: [Faults.fail] })
export const recording = RecordingStores
export const rest = [Metrics, Position, Snapshot, SnapshotStore, Versions] as const
`
    )
    const problems = await tsc([
      ...["--declaration", "--emitDeclarationOnly", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022"],
      ...["--module", "nodenext", "--types", "node", "--lib", "es2023,dom,dom.iterable", "--skipLibCheck", "main.ts"]
    ], project)
    assert.strictEqual(problems, "")
    const declared = fs.readFileSync(path.join(project, "main.d.ts"), "utf8")
    assert.deepStrictEqual(declared.match(/import\("effect-eventsourcing\/internal[^)]*\)[.\w]*/g) ?? [], [])
  })
})
