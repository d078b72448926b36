// The rows of projections in one process: how fast they catch up, and how soon a read model has an event.
import { Effect, Fiber, Layer, type ManagedRuntime, Option, Stream } from "effect"
import { EventStore, ExpectedVersion, type Position, Projection, Projections } from "effect-eventsourcing"
import type { Backend } from "./backend.js"
import { deposited, newId, seed, streamOf } from "./fixtures.js"
import { type Contender, quantile, ratio, spread } from "./measure.js"
import * as ReadModel from "./readModel.js"
import type { Suite } from "./suite.js"

const library = "effect-eventsourcing"

/** A database of its own: all events of its feed are those of these rows. */
export type Site = Pick<Backend, "name" | "database" | "driver">

type Runtime = ManagedRuntime.ManagedRuntime<ReadModel.Services, unknown>

export const using = async (
  { database }: Site,
  options: Parameters<typeof ReadModel.open>[1],
  use: (runtime: Runtime) => Promise<void>
): Promise<void> => {
  const runtime = ReadModel.open(database, options)
  try {
    // before other processes write
    await runtime.runtime()
    await use(runtime)
  } finally {
    await runtime.dispose()
  }
}

// ---- catching up

/** A peer gets fewer events, because it handles them one by one. */
const peerEvents = 2_000

/** A peer's consumer of all its events, which writes the same rows. */
export interface PeerConsumer {
  readonly name: string
  readonly seed: (events: number) => Promise<void>
  readonly catchUp: () => Promise<void>
  readonly reset: () => Promise<void>
  readonly close: () => Promise<void>
}

/** A rebuild: a new projection from the first event to the last one. */
export const catchUp = async (suite: Suite, site: Site, options: {
  readonly events: number
  readonly pageSize: number
  readonly consumer: ((batchSize: number) => Promise<PeerConsumer>) | undefined
}): Promise<void> => {
  const { events, pageSize } = options
  const { database, name: backend } = site
  const name = `catch-up in pages of ${pageSize.toLocaleString("en")}`
  if (!suite.wants(name, backend)) return
  await using(site, {}, async (runtime) => {
    // a feed of many streams: the events of one are not beside each other
    const streams = 50
    for (let part = 0; part < streams; part++) {
      await runtime.runPromise(seed(streamOf(`caught-up-${part}`), Math.ceil(events / streams)))
    }
    const store = await runtime.runPromise(EventStore.EventStore)
    const head = await runtime.runPromise(store.head)
    const count = await runtime.runPromise(Stream.runCount(store.readAll()))
    let runs = 0
    const rebuild = Effect.suspend(() => {
      const name = `catch-up-${runs++}`
      return Effect.scoped(Effect.zipRight(
        Layer.build(Projection.layer(ReadModel.projection(name, database), { pageSize })),
        Projections.awaitPosition(name, head, { timeout: "5 minutes" })
      ))
    })
    const clear = () => runtime.runPromise(ReadModel.clear(database))
    const raw = await ReadModel.follower(database, pageSize)
    const peer = await options.consumer?.(pageSize)
    try {
      await peer?.seed(peerEvents)
      const contenders: [Contender, ...Array<Contender & { readonly target?: number; readonly count?: number }>] = [
        { name: library, run: () => runtime.runPromise(rebuild), after: async () => void await clear() },
        { name: "readAll", run: () => runtime.runPromise(Stream.runDrain(store.readAll())), target: 0.5 },
        {
          name: "driver, raw loop",
          target: 0.5,
          run: async () => {
            while (await raw.next() === pageSize) { /* the next page */ }
          },
          after: async () => raw.reset()
        }
      ]
      if (peer !== undefined) {
        contenders.push({ name: peer.name, target: 1, count: peerEvents, run: peer.catchUp, after: peer.reset })
      }
      await suite.throughput({ name, backend, size: count, unit: "events", count, contenders })
    } finally {
      await raw.close()
      await peer?.close()
    }
  })
}

// ---- latency

/** The checkpoint of a projection, with the time at which it was seen there. */
export const seen = () => {
  let reached = { to: "", time: 0n }
  let look = () => {}
  return {
    note: (to: string, time: bigint) => {
      reached = { to, time }
      look()
    },
    until: (position: string) =>
      new Promise<bigint>((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no checkpoint at ${position} after a minute`)), 60_000)
        look = () => {
          if (reached.to < position) return
          clearTimeout(late)
          resolve(reached.time)
        }
        look()
      })
  }
}

export const pause = (least: number, most: number): Promise<void> =>
  most === 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, least + Math.random() * (most - least)))

/** Appends one event after the other. Gives the position, the milliseconds of the append, and the time of its end. */
export const appender = (runtime: Runtime, stream: string) => {
  let version = 0
  return async () => {
    const start = process.hrtime.bigint()
    const { position } = await runtime.runPromise(Effect.flatMap(EventStore.EventStore, (store) =>
      store.append(
        streamOf(stream),
        [{ id: newId(), type: deposited._tag, payload: deposited }],
        { expectedVersion: ExpectedVersion.exact(version++) }
      )))
    const end = process.hrtime.bigint()
    return { position: Option.getOrThrow(position), millis: millisBetween(start, end), end }
  }
}

export const millisBetween = (from: bigint, to: bigint): number => Number(to - from) / 1e6

export interface Blocks {
  readonly blocks: number
  readonly each: number
}

/** Takes blocks of pairs, and compares the medians of each block. */
export const inBlocks = async (
  { blocks, each }: Blocks,
  sample: () => Promise<readonly [measured: number, floor: number]>
) => {
  const all: Array<readonly [number, number]> = []
  const medians: Array<readonly [number, number]> = []
  for (let block = 0; block < blocks; block++) {
    const pairs: Array<readonly [number, number]> = []
    for (let i = 0; i < each; i++) pairs.push(await sample())
    all.push(...pairs)
    medians.push([quantile(pairs.map(([one]) => one), 0.5), quantile(pairs.map(([, other]) => other), 0.5)])
  }
  const p99: readonly [number, number] = [
    quantile(all.map(([one]) => one), 0.99),
    quantile(all.map(([, other]) => other), 0.99)
  ]
  return {
    measured: spread(all.map(([one]) => one)),
    floor: spread(all.map(([, other]) => other)),
    ratio: ratio(medians.map(([one]) => one), medians.map(([, other]) => other)),
    p99
  }
}

const steadily = "one append after the other"

/** From the end of an append to the commit of the read model, and to the answer of `awaitPosition`, in one process. */
export const live = async (
  suite: Suite,
  site: Site,
  options: Blocks & { readonly warmUp: number; readonly target: number }
): Promise<void> => {
  const { database, name: backend } = site
  const paces = [{ pace: steadily, most: 0 }, { pace: "an append every 5 to 15 ms", most: 15 }]
  const nameOf = (what: string, pace: string) => `append to ${what}, one process, ${pace}`
  const kinds = ["read model", "awaitPosition"] as const
  if (!paces.some(({ pace }) => kinds.some((kind) => suite.wants(nameOf(kind, pace), backend)))) return
  const checkpoint = seen()
  const onAdvance = (to: string) => checkpoint.note(to, process.hrtime.bigint())
  await using(site, { onAdvance }, async (runtime) => {
    const name = `live-${newId()}`
    const projecting = runtime.runFork(Effect.scoped(Effect.zipRight(
      Layer.build(Projection.layer(ReadModel.projection(name, database))),
      Effect.never
    )))
    const append = appender(runtime, name)
    const awaited = Effect.fn(function*(position: Position.Position) {
      yield* Projections.awaitPosition(name, position, { timeout: "1 minute" })
      return process.hrtime.bigint()
    })
    const until = {
      "read model": checkpoint.until,
      awaitPosition: (position: Position.Position) => runtime.runPromise(awaited(position))
    }
    const sample = (kind: typeof kinds[number], most: number) => async () => {
      await pause(5, most)
      const { end, millis, position } = await append()
      return [millisBetween(end, await until[kind](position)), millis] as const
    }
    await checkpoint.until((await append()).position)
    for (let i = 0; i < options.warmUp; i++) await sample(kinds[i % 2], 0)()
    for (const { most, pace } of paces) {
      for (const kind of kinds) {
        const name = nameOf(kind, pace)
        if (!suite.wants(name, backend)) continue
        const result = await inBlocks(options, sample(kind, most))
        suite.add({ ...result, name, backend, size: 1, unit: "ms", against: "an append", target: options.target })
      }
    }
    await runtime.runPromise(Fiber.interrupt(projecting))
    await liveByDriver(suite, site, options, append)
  })
}

/** What the driver takes for an insert, a page and a transaction with a checkpoint and a row. */
const liveByDriver = async (
  suite: Suite,
  { database, driver, name: backend }: Site,
  options: Blocks & { readonly warmUp: number },
  append: ReturnType<typeof appender>
): Promise<void> => {
  const name = "insert to row by the driver alone, one after the other"
  if (!suite.wants(name, backend)) return
  const raw = await ReadModel.follower(database, 1_000)
  const stream = streamOf(`driver-${newId()}`)
  let version = 0
  const sample = async () => {
    const { millis } = await append()
    while (await raw.next() > 0) { /* the library's event */ }
    await driver.insert(stream, ++version, deposited)
    const end = process.hrtime.bigint()
    while (await raw.next() === 0) { /* not settled */ }
    return [millisBetween(end, process.hrtime.bigint()), millis] as const
  }
  try {
    await raw.reset()
    for (let i = 0; i < options.warmUp; i++) await sample()
    const result = await inBlocks(options, sample)
    suite.add({ ...result, name, backend, size: 1, unit: "ms", against: "an append of the library" })
  } finally {
    await raw.close()
  }
}
