import { Effect, Option } from "effect"
import { assert } from "vitest"
import * as Library from "./library.js"
import type { Bug } from "./planted.js"
import { breathe, explain, from, onSqlite, type Simulation } from "./seeds.js"
import type { Options, Stores, Subject } from "./simulation.js"
import { simulateSnapshotter } from "./snapshotter.js"

export interface LibraryBug extends Bug {
  /** The simulation that finds it, if not the one in memory. */
  readonly by?: Simulation
  /** The seed that found it last, of those that every run repeats. */
  readonly seed?: number
}

export const inTheLibrary: ReadonlyArray<LibraryBug> = [
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
    name: "the state is captured lazily, after the caller has changed it",
    file: "internal/repository/snapshots.ts",
    changes: [[
      "saveCommitted(services, id, stream, when, open ? version : 0)",
      "() => save(services, baseline)"
    ]]
  },
  {
    name: "a background snapshot has a state that a transaction rolled back",
    file: "internal/repository/snapshots.ts",
    changes: [[
      "saveCommitted(services, id, stream, when, open ? version : 0)",
      "() => save(services, { ...baseline, state: structuredClone(baseline.state) })"
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
    name: "coalescing keeps the latest offer, even of a lower version",
    file: "internal/repository/snapshotterSlots.ts",
    changes: [["same === undefined || request.version >= same.version ? request : same", "request"]],
    by: simulateSnapshotter
  },
  {
    name: "two saves of a stream run at a time",
    seed: 1,
    file: "internal/repository/snapshotterSlots.ts",
    changes: [["slots.active.has(key) ? slots.behind : slots.ready", "slots.ready"]],
    by: simulateSnapshotter
  },
  {
    name: "a request that waits behind a save is forgotten",
    file: "internal/repository/snapshotterSlots.ts",
    changes: [["slots.behind.delete(key)\n    slots.ready.set(key, next)", "slots.behind.delete(key)"]],
    by: simulateSnapshotter
  },
  {
    name: "closing waits for a save that never ends",
    file: "internal/repository/snapshotterSlots.ts",
    changes: [[
      "waiting(slots) + slots.active.size - slots.abandoned.size",
      "waiting(slots) + slots.active.size"
    ]]
  },
  {
    name: "a hanging verification delays the closing",
    file: "internal/repository/verification.ts",
    changes: [["Effect.disconnect(run(request))", "run(request)"]]
  },
  {
    name: "a load that waits for a failed load waits forever",
    file: "internal/repository/stateCache.ts",
    changes: [["return latch.open", "return Effect.void"]]
  },
  {
    name: "a load waits for a snapshot store forever",
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
    name: "a command that lost a race decides again on the old state",
    file: "internal/repository/commands.ts",
    changes: [[
      "loader.advance(id, baseline, { source, onRefused: loads.refused })",
      "Effect.succeed({ ...baseline, version: conflict.actual })"
    ]]
  },
  {
    name: "a repeat is decided before it is looked up",
    seed: 80,
    file: "internal/repository/commands.ts",
    changes: [[
      "return unlessRepeated(afterwards(Either.left(decision.rejection)))",
      "return afterwards(Either.left(decision.rejection))"
    ]]
  },
  {
    name: "the events of a command have new ids at each try",
    seed: 2,
    file: "internal/repository/commands.ts",
    changes: [["if (commandId !== undefined) {\n    const idOf", "if (commandId === \"never\") {\n    const idOf"]]
  },
  {
    name: "a repeat gives the state at the version of its own events",
    file: "internal/repository/repeats.ts",
    changes: [["state: current.state,", "state: baseline.state,"]]
  },
  {
    name: "a repeat has one event of its command",
    file: "internal/repository/repeats.ts",
    changes: [["Stream.take(from(first, short), short)", "Stream.take(from(first, short), 1)"]]
  },
  {
    name: "a repeat takes in the events after its own",
    file: "internal/repository/repeats.ts",
    changes: [[
      "Stream.takeWhile(({ id, version }) => isOwn(id, version)),",
      "Stream.takeWhile(() => true),"
    ]]
  },
  {
    name: "a snapshot is labelled with the version after it",
    seed: 1,
    file: "internal/repository/saves.ts",
    changes: [[
      "const { refuted, state, stream, version } = baseline",
      `const { refuted, state, stream } = baseline
const version = baseline.version + 1`
    ]]
  }
]

// what counts calls begins anew with every run
export const inAStore: ReadonlyArray<readonly [name: string, plant: (stores: Stores) => Stores]> = [
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
                position: Option.none(),
                time: Option.none(),
                duplicate: false
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
      append: (stream, proposed) => events.append(stream, proposed, { expectedVersion: Library.ExpectedVersion.any })
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
  ["a snapshot is saved over a newer one", ({ events, snapshots }) => ({
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

/** A seed finds the bug, and finds it again in the very same run. The hunt begins with the seed that found it last. */
export const isFound = async (
  simulation: Simulation,
  subject: Subject,
  options: Options & { readonly seed?: number | undefined } = {}
): Promise<void> => {
  for (const seed of [...options.seed === undefined ? [] : [options.seed], ...from(1, 3_000)]) {
    await breathe()
    const report = await simulation(subject, seed, options)
    if (report.problems.length === 0) continue
    assert.include(explain(seed, report), `SEED=${seed}\n${report.problems[0]}`)
    return assert.deepStrictEqual(await simulation(subject, seed, options), report)
  }
  assert.fail("no seed finds it")
}
