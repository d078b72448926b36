import { Effect, Option } from "effect"
import * as childProcess from "node:child_process"
import * as path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import * as Library from "./simulation/library.js"
import { type Bug, clear, plant } from "./simulation/planted.js"
import {
  type Options,
  type Report,
  simulate,
  simulateUnderTestClock,
  type Stores,
  type Subject
} from "./simulation/simulation.js"
import { simulateSnapshotter } from "./simulation/snapshotter.js"

// SEED=7 runs that one again and prints what happens; SEEDS=100000 runs more; FIRST_SEED=1000000 runs others
const whole = (name: string, otherwise: number): number => {
  const text = process.env[name] ?? ""
  const value = text === "" ? otherwise : Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is ${text}; it must be a whole number`)
  return value
}
const only = whole("SEED", 0)
const first = whole("FIRST_SEED", 1)
const count = whole("SEEDS", 2_000)

type Simulation = (subject: Subject, seed: number, options?: Options) => Report | Promise<Report>

/** Everything that a seed stands for. */
const simulations: ReadonlyArray<readonly [name: string, simulation: Simulation]> = [
  ["in memory", (subject, seed, options) => simulate(subject, seed, { ...options, backend: "memory" })],
  ["on SQLite", (subject, seed, options) => simulate(subject, seed, { ...options, backend: "sqlite" })],
  ["under Effect's own clock", simulateUnderTestClock],
  ["of the snapshotter alone", simulateSnapshotter]
]

const from = (start: number, length: number) => Array.from({ length }, (_, n) => start + n)

const explain = (seed: number, { problems, trace }: Report) =>
  `SEED=${seed}\n${problems.join("\n")}\n\nwhat happened:\n${trace.join("\n")}`

const total = new Map<string, number>()

// nothing in a simulation waits: others would starve beside two thousand of them
const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))

const check = async (seed: number, backend: "memory" | "sqlite") => {
  await breathe()
  const report = simulate(Library, seed, { backend })
  for (const [name, n] of Object.entries(report.counts)) total.set(name, (total.get(name) ?? 0) + n)
  if (report.problems.length > 0) throw new Error(explain(seed, report))
}

if (only > 0) {
  describe("simulation", () => {
    for (const [name, simulation] of simulations) {
      it(`seed ${only} ${name}`, async () => {
        const report = await simulation(Library, only)
        console.log(`${name}: ${explain(only, report)}`)
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
        for (const seed of seeds) await check(seed, "memory")
      }, 300_000)
    }

    it("some of them on SQLite", async () => {
      for (const seed of from(first, Math.ceil(count / 20))) await check(seed, "sqlite")
    }, 300_000)

    it("a few under Effect's own clock and scheduler", async () => {
      const reports = from(first, 30).map(async (seed) => [seed, await simulateUnderTestClock(Library, seed)] as const)
      for (const report of reports) {
        const [seed, result] = await report
        assert.deepStrictEqual(result.problems, [], explain(seed, result))
      }
    }, 300_000)

    it("the snapshotter alone", async () => {
      for (const seed of from(first, Math.ceil(count / 4))) {
        if (seed % 50 === 0) await breathe()
        const report = simulateSnapshotter(Library, seed)
        if (report.problems.length > 0) throw new Error(explain(seed, report))
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
          "execute gave up",
          "transaction ok",
          "transaction rolled back",
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
      for (const [name, simulation] of simulations) {
        const seeds = from(1, 8)
        const together = await Promise.all(seeds.map((seed) => simulation(Library, seed)))
        for (const [index, report] of together.entries()) {
          assert.isAbove(report.trace.length, 3)
          assert.deepStrictEqual(await simulation(Library, seeds[index]), report, name)
          assert.notDeepEqual((await simulation(Library, seeds[index] + 100)).trace, report.trace, name)
        }
      }
    }, 300_000)

    it("SEED=7 prints the very runs that the suite made of it", async () => {
      const root = path.join(import.meta.dirname, "..")
      const printed = await new Promise<string>((resolve) =>
        childProcess.execFile(
          process.execPath,
          [path.join(root, "node_modules/vitest/vitest.mjs"), "run", "test/Simulation.test.ts"],
          // no server is needed
          { cwd: root, env: { ...process.env, SEED: "7", TEST_DATABASE_URL: "postgres://unused", NO_COLOR: "1" } },
          (_error, stdout, stderr) => resolve(stdout + stderr)
        )
      )
      for (const [name, simulation] of simulations) {
        assert.include(printed, `${name}: ${explain(7, await simulation(Library, 7))}`)
      }
    }, 120_000)
  })

  describe("a planted bug is found", () => {
    beforeAll(clear)
    afterAll(clear)

    const found = async (simulation: Simulation, subject: Subject, options: Options = {}) => {
      for (const seed of from(1, 3_000)) {
        await breathe()
        if ((await simulation(subject, seed, options)).problems.length > 0) return seed
      }
      return undefined
    }

    const inMemory: Simulation = (subject, seed, options) => simulate(subject, seed, options)
    const onSqlite: Simulation = (subject, seed) => simulate(subject, seed, { backend: "sqlite" })

    const inTheLibrary: ReadonlyArray<
      Bug & { readonly by?: Simulation }
    > = [
      {
        name: "the drain is registered before the workers, so that they are interrupted first",
        file: "internal/repository/snapshotter.ts",
        changes: [
          ["yield* Effect.replicateEffect(Effect.forkScoped(worker), options.workers ?? 2)", ""],
          [
            "    return {\n",
            "    yield* Effect.replicateEffect(Effect.forkScoped(worker), options.workers ?? 2)\n    return {\n"
          ]
        ]
      },
      {
        name: "a defect of the store kills a worker",
        file: "internal/repository/snapshotter.ts",
        changes: [
          ["Effect.catchAllCause((cause) => Effect.fail(Cause.squash(cause)))", "(effect) => effect"],
          ["Effect.catchAllCause(() => Effect.sync(saves.failed))", "(effect) => effect"]
        ]
      },
      {
        name: "the state is captured lazily, and is what the caller made of it by then",
        file: "internal/repository/snapshots.ts",
        changes: [[
          "saveCommitted(services, id, stream, when, { uncommitted: open ? version : 0, heartbeat })",
          "save(services, baseline)"
        ]]
      },
      {
        name: "a background snapshot is of what a transaction rolled back",
        file: "internal/repository/snapshots.ts",
        changes: [[
          "saveCommitted(services, id, stream, when, { uncommitted: open ? version : 0, heartbeat })",
          "save(services, { ...baseline, state: structuredClone(baseline.state) })"
        ]],
        by: onSqlite
      },
      {
        name: "coalescing keeps the oldest",
        file: "internal/repository/snapshotterSlots.ts",
        changes: [["same === undefined || request.version >= same.version ? request : same", "same ?? request"]],
        by: simulateSnapshotter
      },
      {
        name: "coalescing keeps the latest offer, whatever its version",
        file: "internal/repository/snapshotterSlots.ts",
        changes: [["same === undefined || request.version >= same.version ? request : same", "request"]],
        by: simulateSnapshotter
      },
      {
        name: "two saves of a stream run at a time",
        file: "internal/repository/snapshotterSlots.ts",
        changes: [["slots.active.has(key) ? slots.behind : slots.ready", "slots.ready"]],
        by: simulateSnapshotter
      },
      {
        name: "what waited behind a save is forgotten",
        file: "internal/repository/snapshotterSlots.ts",
        changes: [["slots.behind.delete(key)\n    slots.ready.set(key, next)", "slots.behind.delete(key)"]],
        by: simulateSnapshotter
      },
      {
        name: "what is stuck for ever is waited for",
        file: "internal/repository/snapshotterSlots.ts",
        changes: [[
          "waiting(slots) + slots.active.size - slots.abandoned.size",
          "waiting(slots) + slots.active.size"
        ]]
      },
      {
        name: "a verification that is stuck holds up the closing",
        file: "internal/repository/verification.ts",
        changes: [["Effect.disconnect(run(request))", "run(request)"]]
      },
      {
        name: "a load that waited for a load that failed waits for ever",
        file: "internal/repository/stateCache.ts",
        changes: [["return latch.open", "return Effect.void"]]
      },
      {
        name: "a snapshot store is waited for without end",
        file: "internal/repository/contain.ts",
        changes: [["duration: options.timeout,", "duration: \"1 hours\","]]
      },
      {
        name: "the limit of a replay holds for snapshots too",
        file: "internal/repository/loader.ts",
        changes: [["options.unbounded === true ? unlimited : limited, options)", "limited, options)"]]
      },
      {
        name: "a save has no time limit",
        file: "internal/repository/snapshotter.ts",
        changes: [["Effect.timeoutOption(Fiber.await(fiber), timeout)", "Effect.asSome(Fiber.await(fiber))"]]
      },
      {
        name: "a sync save is not contained",
        file: "internal/repository/syncSaves.ts",
        changes: [["contain(tracked, services)", "Effect.either(tracked)"]]
      },
      {
        name: "a command that lost a race decides again on the state it had",
        file: "internal/repository/commands.ts",
        changes: [[
          "loader.advance(id, baseline, { source, onRefused: loads.refused })",
          "Effect.succeed({ ...baseline, version: conflict.actual })"
        ]]
      },
      {
        name: "a snapshot is labelled with the version after it",
        file: "internal/repository/saves.ts",
        changes: [[
          "const { refuted, state, stream, version } = baseline",
          `const { refuted, state, stream } = baseline
    const version = baseline.version + 1`
        ]]
      }
    ]
    /** The seed that finds it finds it again, in the very same run. */
    const isFound = async (simulation: Simulation, subject: Subject, options: Options = {}) => {
      const seed = await found(simulation, subject, options)
      if (seed === undefined) return assert.fail("no seed finds it")
      const report = await simulation(subject, seed, options)
      assert.isNotEmpty(report.problems)
      assert.include(explain(seed, report), `SEED=${seed}\n${report.problems[0]}`)
      assert.deepStrictEqual(await simulation(subject, seed, options), report)
    }

    for (const { by = inMemory, ...bug } of inTheLibrary) {
      it(bug.name, async () => {
        await isFound(by, await plant(bug))
      }, 300_000)
    }

    it("a bug that is found under Effect's own clock is found there again", async () => {
      const bug = inTheLibrary.find(({ name }) => name.startsWith("a snapshot is labelled"))!
      await isFound(simulateUnderTestClock, await plant(bug))
    }, 300_000)

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
          replay: {
            ...events.replay,
            readTail: (stream, options) =>
              options.limit === 1_000_000 || options.fromVersion === 1 || options.limit === 1
                ? events.replay.readTail(stream, options)
                : events.replay.readTail(stream, { ...options, fromVersion: options.fromVersion + 1 })
          }
        }
      })]
    ]
    for (const [name, plant] of inAStore) {
      it(name, async () => {
        await isFound(inMemory, Library, { plant })
      }, 300_000)
    }
  })
}
