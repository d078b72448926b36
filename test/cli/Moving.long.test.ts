// the command line moves a database with deleted, rewritten and truncated streams
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Exit, FastCheck as fc } from "effect"
import { EventStore, Repository, SnapshotPolicy, Streams } from "effect-eventsourcing"
import { Account, id, stream } from "../fixtures/Account.js"
import { type Database, databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

const names = ["a", "b", "c"]

const operations: fc.Arbitrary<ReadonlyArray<Operation>> = fc.array(
  fc.record({
    name: fc.constantFrom(...names),
    what: fc.constantFrom<Operation["what"]>(
      "deposit",
      "deposit",
      "deposit",
      "rewrite",
      "truncate",
      "keep",
      "remove"
    ),
    n: fc.integer({ min: 1, max: 9 })
  }),
  { minLength: 10, maxLength: 25 }
)

interface Operation {
  readonly name: string
  readonly what: "deposit" | "rewrite" | "truncate" | "keep" | "remove"
  readonly n: number
}

/** Runs the operations. One that a stream does not allow changes nothing. */
const history = (all: ReadonlyArray<Operation>) =>
  Effect.scoped(Effect.gen(function*() {
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
    const streams = yield* Streams.Streams
    for (const name of names) yield* accounts.execute(id(name), { _tag: "Open" })
    for (const { n, name, what } of all) {
      const run: Effect.Effect<unknown, unknown> = what === "deposit"
        ? accounts.execute(id(name), { _tag: "Deposit", amount: n })
        : what === "rewrite"
        ? streams.rewrite(stream(name), n, { _tag: "Deposited", amount: 100 + n }, { aggregate: Account })
        : what === "truncate"
        ? Effect.zipRight(
          accounts.createSnapshot(id(name)),
          streams.truncate(stream(name), { aggregate: Account, before: n, events: "archive" })
        )
        : streams.delete(stream(name), { events: what })
      yield* Effect.exit(run)
    }
  }))

/** What each stream gives. */
const loaded = Effect.scoped(Effect.gen(function*() {
  const accounts = yield* Repository.make(Account)
  return yield* Effect.forEach(names, (name) =>
    Effect.map(
      Effect.either(accounts.load(id(name))),
      Either.match({
        onLeft: ({ _tag }) => ({ _tag }),
        onRight: ({ lastEventTime, state, version }) => ({ lastEventTime: String(lastEventTime), state, version })
      })
    ))
}))

const exported = (url: string, file: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { code, err, out } = yield* invoke("export", "--url", url)
    assert.strictEqual(code, 0, err)
    yield* fs.writeFileString(file, out)
    return out.split("\n").map((line) => ({ ...JSON.parse(line), position: "" }))
  })

const moves = ({ empty, on }: Database, all: ReadonlyArray<Operation>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/events.ndjson`
    const [source, target] = [yield* empty, yield* empty]
    yield* on(source, history(all))
    const lines = yield* exported(source, file)
    const first = yield* invoke("import", file, "--url", target, "--json", "--yes", "--batch", "3")
    assert.deepStrictEqual(jsonOf(first), [{ lines: lines.length, imported: lines.length, skipped: 0 }], first.err)
    const again = yield* invoke("import", file, "--url", target, "--json", "--yes")
    assert.deepStrictEqual(jsonOf(again), [{ lines: lines.length, imported: 0, skipped: lines.length }], again.err)
    assert.deepStrictEqual(yield* on(target, loaded), yield* on(source, loaded))
    assert.deepStrictEqual(yield* exported(target, file), lines)
    return new Set(lines.map(({ type }) => String(type)))
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

for (const database of databases) {
  const { empty, name, on } = database
  describe(`export and import on ${name}`, () => {
    it.live("give a database in which every stream loads the same", () =>
      Effect.gen(function*() {
        const met = new Set<string>()
        for (const all of fc.sample(operations, { numRuns: 8, seed: 7 })) {
          for (const type of yield* moves(database, all)) met.add(type)
        }
        assert.includeMembers(Array.from(met), ["$deleted", "$rewritten", "$truncated"])
      }))

    it.scopedLive("end at an event whose content was removed, and say which stream has it", () =>
      Effect.gen(function*() {
        const url = yield* empty
        yield* on(
          url,
          Effect.scoped(Effect.gen(function*() {
            const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
            const streams = yield* Streams.Streams
            yield* accounts.execute(id("a"), { _tag: "Open" })
            yield* accounts.execute(id("b"), { _tag: "Open" })
            yield* accounts.execute(id("b"), { _tag: "Deposit", amount: 1 })
            yield* accounts.createSnapshot(id("b"))
            yield* streams.truncate(stream("b"), { aggregate: Account, before: 2, events: "remove" })
          }))
        )
        const { code, err, out } = yield* invoke("export", "--url", url)
        assert.strictEqual(code, 1)
        assert.include(err, "Account/b cannot be exported: a truncation or retention has removed contents")
        assert.strictEqual(out.split("\n").length, 1)
      }))

    it.scopedLive("refuse the marker of an event that was imported before its rewrite", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = `${yield* fs.makeTempDirectoryScoped()}/events.ndjson`
        const [source, target] = [yield* empty, yield* empty]
        const deposit = { name: "a", what: "deposit", n: 5 } as const
        yield* on(source, history([deposit]))
        yield* exported(source, file)
        assert.strictEqual((yield* invoke("import", file, "--url", target, "--yes")).code, 0)
        yield* on(
          source,
          Effect.flatMap(Streams.Streams, (streams) =>
            streams.rewrite(stream("a"), 2, { _tag: "Deposited", amount: 7 }, { aggregate: Account }))
        )
        yield* exported(source, file)
        const late = yield* invoke("import", file, "--url", target, "--yes")
        assert.strictEqual(late.code, 1)
        assert.include(late.err, "version 3 says that version 2 was rewritten")
        const version = Effect.flatMap(EventStore.EventStore, (store) =>
          store.version(stream("a")))
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(on(target, version))))
        assert.strictEqual(yield* on(target, version), 2)
      }).pipe(Effect.provide(NodeContext.layer)))
  })
}
