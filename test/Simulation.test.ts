import { Effect, Option } from "effect"
import * as Library from "effect-eventsourcing"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { type Bug, clear, plant } from "./simulation/planted.js"
import {
  type Options,
  type Report,
  simulate,
  simulateUnderTestClock,
  type Stores,
  type Subject
} from "./simulation/simulation.js"

// SEED=7 runs that one again and prints what happens; SEEDS=100000 runs more; FIRST_SEED=1000000 runs others
const only = process.env.SEED
const first = Number(process.env.FIRST_SEED ?? 1)
const count = Number(process.env.SEEDS ?? 2_000)

const from = (start: number, length: number) => Array.from({ length }, (_, n) => start + n)

const explain = (seed: number, { problems, trace }: Report) =>
  `SEED=${seed}\n${problems.join("\n")}\n\nwhat happened:\n${trace.join("\n")}`

const total = new Map<string, number>()

// nothing in a simulation waits: others would starve beside two thousand of them
const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))

const check = async (seed: number, options: Options = {}) => {
  await breathe()
  const report = simulate(Library, seed, options)
  for (const [name, n] of Object.entries(report.counts)) total.set(name, (total.get(name) ?? 0) + n)
  if (report.problems.length > 0) throw new Error(explain(seed, report))
}

if (only !== undefined) {
  describe("simulation", () => {
    for (const backend of ["memory", "sqlite"] as const) {
      it(`seed ${only} (${backend})`, () => {
        const report = simulate(Library, Number(only), { backend })
        console.log(explain(Number(only), report))
        assert.deepStrictEqual(report.problems, [])
      })
    }
  })
} else {
  describe("simulation", () => {
    const chunk = 250
    for (let start = first; start < first + count; start += chunk) {
      const seeds = from(start, Math.min(chunk, first + count - start))
      it(`seeds ${seeds[0]} to ${seeds.at(-1)} in memory`, async () => {
        for (const seed of seeds) await check(seed)
      }, 300_000)
    }

    it("some of them on SQLite", async () => {
      for (const seed of from(first, Math.ceil(count / 20))) await check(seed, { backend: "sqlite" })
    }, 300_000)

    it("a few under Effect's own clock and scheduler", async () => {
      const reports = from(first, 30).map(async (seed) => [seed, await simulateUnderTestClock(Library, seed)] as const)
      for (const report of reports) {
        const [seed, result] = await report
        assert.deepStrictEqual(result.problems, [], explain(seed, result))
      }
    }, 300_000)

    it.skipIf(count < 2_000)("they met what they should", () => {
      for (
        const name of [
          "execute ok",
          "execute rejected",
          "execute EventStoreError",
          "execute EventDecodeError",
          "execute HistoryGap",
          "execute died",
          "execute interrupted",
          "load ok",
          "snapshot Hit",
          "snapshot None",
          "snapshot SchemaVersionMismatch",
          "snapshot SchemaDrift",
          "snapshot StateDecodeError",
          "snapshot HistoryMismatch",
          "snapshot StoreUnavailable",
          "saves",
          "closings",
          "faults"
        ]
      ) assert.isAbove(total.get(name) ?? 0, 0, name)
    })

    it("the same seed gives the same run, another one another", async () => {
      for (const seed of [1, 2, 3]) {
        for (const backend of ["memory", "sqlite"] as const) {
          const { trace } = simulate(Library, seed, { backend })
          assert.isAbove(trace.length, 3)
          assert.deepStrictEqual(simulate(Library, seed, { backend }).trace, trace)
          assert.notDeepEqual(simulate(Library, seed + 100, { backend }).trace, trace)
        }
        const { trace } = await simulateUnderTestClock(Library, seed)
        assert.deepStrictEqual((await simulateUnderTestClock(Library, seed)).trace, trace)
      }
    }, 300_000)
  })

  describe("a planted bug is found", () => {
    beforeAll(clear)
    afterAll(clear)

    const found = async (subject: Subject, options: Options = {}) => {
      for (const seed of from(1, 3_000)) {
        await breathe()
        if (simulate(subject, seed, options).problems.length > 0) return seed
      }
      return undefined
    }

    const inTheLibrary: ReadonlyArray<Bug> = [
      {
        name: "the drain is registered before the workers, so that they are interrupted first",
        file: "Snapshotter.ts",
        changes: [
          ["yield* Effect.replicateEffect(Effect.forkScoped(worker), workers)", ""],
          ["    return {\n", "    yield* Effect.replicateEffect(Effect.forkScoped(worker), workers)\n    return {\n"]
        ]
      },
      {
        name: "a defect of the store kills a worker",
        file: "Snapshotter.ts",
        changes: [
          ["Effect.catchAllCause((cause) => Effect.fail(Cause.squash(cause))),", ""],
          ["Effect.catchAllCause(() => Effect.sync(metrics.failed))", "(effect) => effect"]
        ]
      },
      {
        name: "a save has no time limit",
        file: "Snapshotter.ts",
        changes: [["Effect.timeoutOption(Fiber.await(fiber), timeout)", "Effect.asSome(Fiber.await(fiber))"]]
      },
      {
        name: "a sync save is not contained",
        file: "Repository.ts",
        changes: [["contained(tracked)", "Effect.either(tracked)"]]
      },
      {
        name: "a command that lost a race decides again on the state it had",
        file: "Repository.ts",
        changes: [[": loader.advance(baseline)", ": Effect.succeed({ ...baseline, version: conflict.actual })"]]
      },
      {
        name: "a snapshot is labelled with the version after it",
        file: "Repository.ts",
        changes: [[
          "const { refuted, state, stream, version } = baseline",
          `const { refuted, state, stream } = baseline
        const version = baseline.version + 1`
        ]]
      }
    ]
    /** The seed that finds it finds it again, in the very same run. */
    const isFound = async (subject: Subject, options: Options = {}) => {
      const seed = await found(subject, options)
      if (seed === undefined) return assert.fail("no seed finds it")
      const report = simulate(subject, seed, options)
      assert.isNotEmpty(report.problems)
      assert.include(explain(seed, report), `SEED=${seed}\n${report.problems[0]}`)
      assert.deepStrictEqual(simulate(subject, seed, options), report)
    }

    for (const bug of inTheLibrary) {
      it(bug.name, async () => {
        await isFound(await plant(bug))
      }, 300_000)
    }

    // what counts calls begins anew with every run
    const inAStore: ReadonlyArray<readonly [name: string, plant: (stores: Stores) => Stores]> = [
      ["an append reports success and is not done", ({ events, snapshots }) => {
        let calls = 0
        return {
          snapshots,
          events: {
            ...events,
            append: (stream, proposed, options) =>
              Effect.suspend(() =>
                ++calls % 9 === 0
                  ? Effect.map(Effect.orDie(events.version(stream)), (version) => ({
                    version: version + proposed.length,
                    position: Option.none()
                  }))
                  : events.append(stream, proposed, options)
              )
          }
        }
      }],
      ["the expected version is not checked", ({ events, snapshots }) => ({
        snapshots,
        events: {
          ...events,
          append: (stream, proposed) =>
            events.append(stream, proposed, { expectedVersion: Library.ExpectedVersion.any })
        }
      })],
      ["an append that is delivered twice is done twice", ({ events, snapshots }) => {
        let calls = 0
        return {
          snapshots,
          events: {
            ...events,
            append: (stream, proposed) =>
              Effect.suspend(() => {
                const call = ++calls
                const renamed = proposed.map((event) => ({ ...event, id: `${event.id}~${call}` }))
                return events.append(stream, renamed, { expectedVersion: Library.ExpectedVersion.any })
              })
          }
        }
      }],
      ["an append is not atomic", ({ events, snapshots }) => {
        let calls = 0
        return {
          snapshots,
          events: {
            ...events,
            append: (stream, proposed, options) =>
              Effect.suspend(() =>
                ++calls % 9 === 0 && proposed.length > 1
                  ? events.append(stream, proposed.slice(0, 1), options).pipe(
                    Effect.zipRight(events.append(stream, [], { expectedVersion: Library.ExpectedVersion.noStream })),
                    Effect.zipRight(Effect.never)
                  )
                  : events.append(stream, proposed, options)
              )
          }
        }
      }],
      ["snapshots are saved whatever is there", ({ events, snapshots }) => ({
        events,
        snapshots: {
          ...snapshots,
          save: (snapshot) =>
            Effect.zipRight(
              snapshots.delete(snapshot.stream, { schemaVersion: snapshot.schemaVersion }),
              snapshots.save(snapshot)
            )
        }
      })],
      ["snapshots of other schema versions are given as those asked for", ({ events, snapshots }) => ({
        events,
        snapshots: {
          ...snapshots,
          get: (stream, options) =>
            Effect.map(
              snapshots.get(stream, options),
              Option.map((found) => ({ ...found, schemaVersion: options.schemaVersion }))
            )
        }
      })],
      ["the tail begins one event late", ({ events, snapshots }) => ({
        snapshots,
        events: {
          ...events,
          readTail: (stream, options) =>
            options.limit === 1_000_000 || options.fromVersion === 1 || options.limit === 1
              ? events.readTail(stream, options)
              : events.readTail(stream, { ...options, fromVersion: options.fromVersion + 1 })
        }
      })]
    ]
    for (const [name, plant] of inAStore) {
      it(name, async () => {
        await isFound(Library, { plant })
      }, 300_000)
    }
  })
}
