// rows of many fibers at once, whose operations may share statements, and of a single one, which must not pay for it
import { Effect } from "effect"
import { EventStore, ExpectedVersion, SnapshotPolicy, type StreamId } from "effect-eventsourcing"
import type { Backend } from "./backend.js"
import { deposit, deposited, id, newId, seed, streamOf } from "./fixtures.js"
import { type Contender, quantile, ratio, spread } from "./measure.js"
import type { Peer } from "./peer.js"
import { emptyStream, exactly, library, repeat, repository } from "./rows.js"
import type { Suite } from "./suite.js"

const notGrouped = "not grouped"

/** Gives stores that group and stores that do not, which nothing else has used: a connection keeps traces of its past. */
const withBoth = async (
  backend: Backend,
  use: (grouped: Backend["runtime"], alone: Backend["runtime"]) => Promise<void>
): Promise<void> => {
  const grouped = backend.stores({})
  const alone = backend.stores({ groupAppends: false, groupLoads: false })
  try {
    await use(grouped, alone)
  } finally {
    await grouped.dispose()
    await alone.dispose()
  }
}

const writing = (store: EventStore.EventStore["Type"]) => (stream: StreamId.StreamId, version: number) =>
  store.append(stream, [{ id: newId(), type: deposited._tag, payload: deposited }], {
    expectedVersion: ExpectedVersion.exact(version)
  })

/** Runs of writers on streams that nobody else writes. No writer waits for another one within a run. */
const running = (
  each: number,
  run: (version: number, times: number) => Promise<unknown>
): Contender["run"] => {
  let version = 0
  return async (times) => {
    const from = version
    version += times * each
    await run(from, times * each)
  }
}

const storing = async (
  stores: Backend["runtime"],
  streams: ReadonlyArray<StreamId.StreamId>,
  each: number
): Promise<Contender["run"]> => {
  const append = writing(await stores.runPromise(EventStore.EventStore))
  return running(each, (version, times) =>
    Effect.runPromise(
      Effect.forEach(streams, (stream) => {
        let next = version
        return Effect.repeatN(Effect.suspend(() => append(stream, next++)), times - 1)
      }, { concurrency: "unbounded", discard: true })
    ))
}

/** Many writers in one process, each on a stream of its own, each with one append after the other. */
export const writers = async (
  suite: Suite,
  backend: Backend,
  options: {
    readonly count: number
    /** The driver's, for each floor, with the least ratio to it. */
    readonly floors: ReadonlyArray<{ readonly connections: number; readonly target?: number | undefined }>
    readonly peers: ReadonlyArray<Peer>
    readonly peerTarget?: number | undefined
  }
): Promise<void> => {
  const { count, floors, peerTarget, peers } = options
  const name = `${count} writers at once`
  if (!suite.wants(name, backend.name)) return
  const each = 128 / count
  const names = Array.from({ length: count }, (_, index) => emptyStream(`writer-${index}`).id)
  const streams = (suffix: string) => names.map((name) => streamOf(`${name}${suffix}`))

  const drivers = floors.map(({ connections, target }, index) => {
    const workers = backend.driver.workers(connections)
    const mine = streams(`-driver-${index}`)
    return {
      // a synchronous driver has one connection, whatever it is given
      name: floors.length === 1 ? "driver" : `driver, ${connections} connections`,
      target,
      run: running(each, (version, times) => workers.insert(mine, version + 1, times, deposited)),
      close: workers.close
    }
  })
  const theirs = peers.map((peer) => ({
    name: peer.name,
    target: peerTarget,
    run: running(each, (version, times) =>
      Promise.all(names.map(async (name) => {
        for (let i = 0; i < times; i++) await peer.append(name, version + i, 1)
      })))
  }))
  await withBoth(backend, async (grouped, alone) => {
    const ours = { name: library, run: await storing(grouped, streams(""), each) }
    const single = { name: notGrouped, run: await storing(alone, streams("-alone"), each) }
    const contenders = [ours, ...drivers, single, ...theirs] as const
    await suite.throughput({ name, backend: backend.name, size: 1, unit: "appends", count: count * each, contenders })
    if (backend.timeStatements === undefined) return
    await statementTimes(suite, backend, { name, timed: backend.timeStatements, grouped: ours.run, alone: single.run })
  })
  for (const { close } of drivers) await close()
}

/** As long as a group may wait for a lock: a longer one would hold the events of others back in the feed. */
const longestGroup = 20

/**
 * How long the statements of the writers take, as the program sees it, and so at most how long one holds back the feed
 * of other events. A statement carries a group or, seldom, one append.
 */
const statementTimes = async (suite: Suite, backend: Backend, options: {
  readonly name: string
  readonly timed: NonNullable<Backend["timeStatements"]>
  readonly grouped: Contender["run"]
  readonly alone: Contender["run"]
}): Promise<void> => {
  const samples = { grouped: new Array<number>(), alone: new Array<number>() }
  const millis = Math.max(1_000, suite.effort.budgetMillis / 3)
  for (const until = performance.now() + millis; performance.now() < until;) {
    for (const kind of ["grouped", "alone"] as const) {
      samples[kind].push(...await options.timed(() => Promise.resolve(options[kind](4))))
    }
  }
  const grouped = quantile(samples.grouped, 0.99)
  for (
    const { against, floor, target } of [
      { against: "the limit", floor: longestGroup, target: 1 },
      { against: notGrouped, floor: quantile(samples.alone, 0.99), target: undefined }
    ]
  ) {
    suite.add({
      name: `${options.name}: 99th percentile of a statement`,
      backend: backend.name,
      size: 1,
      unit: "ms",
      measured: exactly(grouped),
      against,
      floor: exactly(floor),
      ratio: exactly(grouped / floor),
      target
    })
  }
}

/** Whole commands of sixteen fibers, each on other aggregates, whose snapshots are at the head. */
export const commands = async (
  suite: Suite,
  backend: Backend,
  options: { readonly connections: number; readonly target: number }
): Promise<void> => {
  const fibers = 16
  const each = 8
  const name = `commands of ${fibers} fibers`
  if (!suite.wants(name, backend.name)) return
  const manual = { snapshots: SnapshotPolicy.manual }
  const own = await repository(backend, manual)

  // each run finds every snapshot at the head: they are taken anew after it, outside its time
  const contender = async (
    name: string,
    run: (streams: ReadonlyArray<ReadonlyArray<StreamId.StreamId>>) => unknown
  ) => {
    const streams = Array.from({ length: fibers }, () => Array.from({ length: each }, () => emptyStream("fiber")))
    const snapshots = Effect.forEach(streams.flat(), ({ id: stream }) => own.createSnapshot(id(stream)), {
      concurrency: fibers,
      discard: true
    })
    await backend.runtime.runPromise(Effect.forEach(streams.flat(), (stream) => seed(stream, 20), { discard: true }))
    await backend.runtime.runPromise(snapshots)
    return { name, run: repeat(() => run(streams)), after: () => backend.runtime.runPromise(snapshots) }
  }
  const executing = (accounts: typeof own) => (streams: ReadonlyArray<ReadonlyArray<StreamId.StreamId>>) =>
    Effect.runPromise(
      Effect.forEach(
        streams,
        (list) => Effect.forEach(list, ({ id: stream }) => accounts.execute(id(stream), deposit), { discard: true }),
        { concurrency: "unbounded", discard: true }
      )
    )
  const workers = backend.driver.workers(options.connections)
  await withBoth(backend, async (grouped, alone) => {
    const contenders = [
      await contender(library, executing(await repository({ runtime: grouped }, manual))),
      { ...await contender("driver, select and insert", workers.command), target: options.target },
      await contender(notGrouped, executing(await repository({ runtime: alone }, manual)))
    ] as const
    await backend.settle()
    await suite.throughput({
      name,
      backend: backend.name,
      size: 20,
      unit: "commands",
      count: fibers * each,
      contenders
    })
  })
  await workers.close()
}

/** The latency of a single writer, which finds no other to share a statement with, one append at a time. */
export const latency = async (suite: Suite, backend: Backend, options: {
  readonly blocks: number
  readonly target: number
}): Promise<void> => {
  const name = "append, one writer"
  if (!suite.wants(name, backend.name)) return
  await withBoth(backend, async (grouped, alone) => {
    const contenders = {
      grouped: await appending(grouped, emptyStream("latency")),
      alone: await appending(alone, emptyStream("latency-alone"))
    }
    const blocks = []
    for (let i = -2; i < options.blocks; i++) {
      const times = await Effect.runPromise(block(contenders))
      if (i >= 0) blocks.push(times)
    }
    for (const { at, label } of [{ at: 0.5, label: "median" }, { at: 0.99, label: "99th percentile" }]) {
      const grouped = blocks.map((times) => quantile(times.grouped, at))
      const alone = blocks.map((times) => quantile(times.alone, at))
      suite.add({
        name: `${name}: ${label}`,
        backend: backend.name,
        size: 1,
        unit: "ms",
        measured: spread(grouped),
        against: notGrouped,
        floor: spread(alone),
        ratio: ratio(grouped, alone),
        target: options.target
      })
    }
  })
}

const appending = async (stores: Backend["runtime"], stream: StreamId.StreamId) => {
  const append = writing(await stores.runPromise(EventStore.EventStore))
  let version = 0
  return Effect.suspend(() => append(stream, version++))
}

/** Ten appends of each in turn: on SQLite a connection pays for what another one wrote before it. */
const block = <E>(contenders: Readonly<Record<"grouped" | "alone", Effect.Effect<unknown, E>>>) =>
  Effect.gen(function*() {
    const times = { grouped: new Array<number>(), alone: new Array<number>() }
    for (let turn = 0; turn < 50; turn++) {
      for (const kind of turn % 2 === 0 ? ["grouped", "alone"] as const : ["alone", "grouped"] as const) {
        for (let i = 0; i < 10; i++) {
          const start = performance.now()
          yield* contenders[kind]
          times[kind].push(performance.now() - start)
        }
      }
    }
    return times
  })
