import { SqlClient, type SqlError } from "@effect/sql"
import { Effect, Layer, ManagedRuntime, Stream } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  type StreamId
} from "effect-eventsourcing"
import { type Backend, work } from "./backend.js"
import {
  Account,
  type AccountEvent,
  deposit,
  deposited,
  evolve,
  heavy,
  id,
  initial,
  newId,
  seed,
  streamOf
} from "./fixtures.js"
import { type Contender, interleave, quantile, ratio, spread } from "./measure.js"
import type { Peer } from "./peer.js"
import type { Suite } from "./suite.js"

export const library = "effect-eventsourcing"

export const repeat = (run: () => unknown): Contender["run"] => async (times) => {
  for (let i = 0; i < times; i++) await run()
}

// without background fibers a repository may outlive its scope
export const repository = (backend: Pick<Backend, "runtime">, options: Repository.Options) =>
  backend.runtime.runPromise(Effect.scoped(Repository.make(Account, options)))

const prepared = async (backend: Backend, size: number) => {
  const stream = streamOf(`length-${size}`)
  await backend.runtime.runPromise(seed(stream, size))
  await backend.settle()
  return stream
}

/** A load without a snapshot: all events, plain ones. */
export const fullReplay = async (
  suite: Suite,
  backend: Backend,
  options: {
    readonly sizes: ReadonlyArray<number>
    readonly target: number
    readonly peers: ReadonlyArray<Peer>
    /** The longest streams that the peers are given. */
    readonly peersUpTo: number
  }
): Promise<void> => {
  const name = "full replay"
  const plain = await repository(backend, {})
  for (const size of options.sizes) {
    if (!suite.wants(`${name} ${size}`, backend.name)) continue
    const stream = await prepared(backend, size)
    const peers = size > options.peersUpTo ? [] : options.peers
    for (const peer of peers) await peer.seed(`length-${size}`, size)
    await backend.settle()
    await suite.compare({
      name,
      backend: backend.name,
      size,
      // below a thousand events the fixed cost of a statement is most of it
      target: size >= 1_000 ? options.target : undefined,
      contenders: [
        { name: library, run: work(backend.runtime, plain.load(id(stream.id))) },
        { name: "driver", run: repeat(() => backend.driver.replay(stream, initial(), evolve)) },
        ...peers.map((peer) => ({ name: peer.name, run: repeat(() => peer.load(`length-${size}`)) }))
      ]
    })
  }
}

/** The same beside what the database alone takes to give the payloads, without the versions and types that are checked. */
export const leanReplay = async (suite: Suite, backend: Backend): Promise<void> => {
  const name = "full replay, beside a driver that reads the payload column alone"
  const plain = await repository(backend, {})
  for (const size of [1_000, 10_000]) {
    if (!suite.wants(`${name} ${size}`, backend.name)) continue
    const stream = await prepared(backend, size)
    await suite.compare({
      name,
      backend: backend.name,
      size,
      contenders: [
        { name: library, run: work(backend.runtime, plain.load(id(stream.id))) },
        { name: "driver, payloads", run: repeat(() => backend.driver.payloads(stream, initial(), evolve)) }
      ]
    })
  }
}

/** Events whose schema is work to decode: what of it is the schema's, a floor shows that decodes and does no more. */
export const heavyReplay = async (suite: Suite, backend: Backend, size: number): Promise<void> => {
  for (const { label, load, payload, reduce, stream } of heavy) {
    const name = `full replay, ${label}`
    if (!suite.wants(name, backend.name)) continue
    await backend.runtime.runPromise(seed(stream, size, () => payload))
    const ours = { name: library, run: work(backend.runtime, load) }
    const floors: ReadonlyArray<Contender> = [
      {
        name: "driver, not decoding",
        run: repeat(() => backend.driver.replay(stream, { total: 0 }, reduce["not decoding"]))
      },
      { name: "driver, decoding", run: repeat(() => backend.driver.replay(stream, { total: 0 }, reduce.decoding)) }
    ]
    for (const floor of floors) {
      await suite.compare({ name, backend: backend.name, size, contenders: [ours, floor] })
    }
  }
}

export const selectSnapshot = (stream: StreamId.StreamId) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql`SELECT version, state FROM eventsourcing_snapshots
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} AND schema_version = 1`)

const insertEvent = (stream: StreamId.StreamId, version: number, event: AccountEvent) =>
  Effect.flatMap(SqlClient.SqlClient, (sql): Effect.Effect<unknown, SqlError.SqlError> => {
    const payload = JSON.stringify(event)
    return sql.onDialectOrElse({
      pg: () =>
        sql`INSERT INTO eventsourcing_events (transaction, aggregate, stream_id, version, event_id, type, payload, metadata)
VALUES (pg_current_xact_id()::text::bigint, ${stream.aggregate}, ${stream.id}, ${version}, ${newId()},
  ${event._tag}, ${payload}, ${"{}"})`,
      orElse: () =>
        sql`INSERT INTO eventsourcing_events (aggregate, stream_id, version, event_id, type, payload, metadata, time)
VALUES (${stream.aggregate}, ${stream.id}, ${version}, ${newId()}, ${event._tag}, ${payload}, ${"{}"},
  ${Date.now()})`
    })
  })

/** A stream that nobody wrote to: the guard measures a row again in the same database. */
let written = 0
export const emptyStream = (name: string): StreamId.StreamId => streamOf(`${name}-${++written}`)

/** Inserts of one event in turn, each at the next version of a stream that nobody else writes. */
export const inserts = (stream: StreamId.StreamId) => {
  let version = 0
  return Effect.suspend(() => insertEvent(stream, ++version, deposited))
}

/** A load whose snapshot is at the head of the stream. */
export const loadAtHead = async (
  suite: Suite,
  backend: Backend,
  options: {
    readonly sizes: ReadonlyArray<number>
    readonly target: number
    /** How many times as fast as a full replay, by length. */
    readonly improvements: Readonly<Record<number, number>>
  }
): Promise<void> => {
  const name = "load, snapshot at the head"
  if (!suite.wants(name, backend.name)) return
  const plain = await repository(backend, {})
  const manual = await repository(backend, { snapshots: SnapshotPolicy.manual })
  const streams = new Map<number, StreamId.StreamId>()
  for (const size of options.sizes) {
    const stream = await prepared(backend, size)
    streams.set(size, stream)
    await backend.runtime.runPromise(manual.createSnapshot(id(stream.id)))
  }
  const load = (stream: StreamId.StreamId) => work(backend.runtime, manual.load(id(stream.id)))

  for (const [size, stream] of streams) {
    await suite.compare({
      name,
      backend: backend.name,
      size,
      target: options.target,
      contenders: [
        { name: library, run: load(stream) },
        { name: "@effect/sql select", run: work(backend.runtime, selectSnapshot(stream)) }
      ]
    })
  }

  for (const [size, stream] of streams) {
    if (options.improvements[size] === undefined) continue
    const [withSnapshot, without] = await interleave([
      { name: "with", run: load(stream) },
      { name: "without", run: work(backend.runtime, plain.load(id(stream.id))) }
    ], suite.effort)
    suite.add({
      name: "improvement by the snapshot",
      backend: backend.name,
      size,
      unit: "ms",
      measured: spread(withSnapshot),
      against: "full replay",
      floor: spread(without),
      ratio: ratio(without, withSnapshot),
      target: options.improvements[size],
      higherIsBetter: true
    })
  }

  const lengths = Array.from(streams.values(), (stream) => ({ name: stream.id, run: load(stream) }))
  const samples = await interleave(lengths, suite.effort)
  const [shortest, longest] = [samples[0], samples[samples.length - 1]]
  suite.add({
    name: `${name}: the longest stream against the shortest`,
    backend: backend.name,
    size: options.sizes[options.sizes.length - 1],
    unit: "ms",
    measured: spread(longest),
    against: `${options.sizes[0]} events`,
    floor: spread(shortest),
    ratio: ratio(longest, shortest),
    target: 1.2
  })

  const statements = exactly(await backend.countStatements(manual.load(id(`length-${options.sizes[0]}`))))
  suite.add({
    name: `${name}: round trips`,
    backend: backend.name,
    size: options.sizes[0],
    unit: "statements",
    measured: statements,
    against: "one statement",
    floor: exactly(1),
    ratio: statements,
    target: 1
  })
}

export const exactly = (value: number) => ({ median: value, low: value, high: value })

/** An append with the version as a condition. */
export const append = async (
  suite: Suite,
  backend: Backend,
  options: {
    readonly one: number
    readonly hundred: number
    readonly peers: ReadonlyArray<Peer>
    readonly peerTarget?: ((peer: string) => number) | undefined
  }
): Promise<void> => {
  const store = await backend.runtime.runPromise(EventStore.EventStore)
  const ours = (stream: StreamId.StreamId, size: number): Contender => {
    let version = 0
    return {
      name: library,
      run: work(
        backend.runtime,
        Effect.suspend(() => {
          const events = Array.from({ length: size }, () => ({
            id: newId(),
            type: deposited._tag,
            payload: deposited
          }))
          const appended = store.append(stream, events, { expectedVersion: ExpectedVersion.exact(version) })
          version += size
          return appended
        })
      )
    }
  }
  const theirs = (size: number) =>
    options.peers.map((peer): Contender => {
      let version = 0
      const { id } = emptyStream(`append-${size}`)
      return {
        name: peer.name,
        run: repeat(() => {
          const appended = peer.append(id, version, size)
          version += size
          return appended
        })
      }
    })

  if (suite.wants("append 1", backend.name)) {
    await suite.compare({
      name: "append",
      backend: backend.name,
      size: 1,
      target: options.one,
      peerTarget: options.peerTarget,
      contenders: [
        ours(emptyStream("append-1"), 1),
        { name: "@effect/sql insert", run: work(backend.runtime, inserts(emptyStream("append-1-plain"))) },
        ...theirs(1)
      ]
    })
  }
  if (suite.wants("append 100", backend.name)) {
    let version = 1
    const plain = emptyStream("append-100-plain")
    const events = Array.from({ length: 100 }, () => deposited)
    await suite.compare({
      name: "append",
      backend: backend.name,
      size: 100,
      target: options.hundred,
      contenders: [
        ours(emptyStream("append-100"), 100),
        {
          name: "driver, one statement",
          run: repeat(() => {
            const inserted = backend.driver.insertAll(plain, version, events)
            version += 100
            return inserted
          })
        },
        ...theirs(100)
      ]
    })
  }
}

/** Load, decide, append, on a long stream with a snapshot: at the head, and every so many events. */
export const command = async (
  suite: Suite,
  backend: Backend,
  options: { readonly size: number; readonly target: number; readonly peers: ReadonlyArray<Peer> }
): Promise<void> => {
  const { peers, size, target } = options
  const manual = await repository(backend, { snapshots: SnapshotPolicy.manual })
  const rows = [
    { name: "command, snapshot at the head", every: 1, target, peers },
    { name: "command, a snapshot every 100 events", every: 100, target: undefined, peers: [] }
  ]
  for (const { every, name, peers, target } of rows) {
    if (!suite.wants(name, backend.name)) continue
    const stream = streamOf(`command-${every}`)
    await backend.runtime.runPromise(seed(stream, size))
    for (const peer of peers) await peer.seed(stream.id, size)
    const takeSnapshot = () => backend.runtime.runPromise(Effect.asVoid(manual.createSnapshot(id(stream.id))))
    await takeSnapshot()
    await backend.settle()
    let commands = 0
    const ours: Contender = {
      name: library,
      run: work(backend.runtime, manual.execute(id(stream.id), deposit)),
      after: async () => {
        if (++commands % every === 0) await takeSnapshot()
      }
    }
    const plain: Contender = {
      name: "@effect/sql select and insert",
      run: work(
        backend.runtime,
        Effect.zipRight(selectSnapshot(stream), inserts(emptyStream(`command-${every}-plain`)))
      ),
      // timed one by one, as the other
      after: () => Promise.resolve()
    }
    const about = { name, backend: backend.name, size }
    await suite.compare({ ...about, target, contenders: [ours, plain] })
    // who folds all of the stream at each command leaves the caches of the machine cold for the next one
    for (const peer of peers) {
      const theirs = { name: peer.name, run: repeat(() => peer.command(stream.id)) }
      await suite.compare({ ...about, target: 1, contenders: [ours, theirs] })
    }
  }
}

const selectTail = (stream: StreamId.StreamId) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql`SELECT version, type, payload FROM eventsourcing_events
WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} ORDER BY version`)

/** Load, decide, append, on streams that grow from nothing to ten events: no snapshot, as a repository has none by default. */
export const shortCommand = async (
  suite: Suite,
  backend: Backend,
  options: { readonly peers: ReadonlyArray<Peer>; readonly peerTarget?: ((peer: string) => number) | undefined }
): Promise<void> => {
  const name = "command on short streams"
  const size = 10
  if (!suite.wants(name, backend.name)) return
  const plain = await repository(backend, {})
  // the next version, and its stream: a new one after every ten events
  const growing = () => {
    let stream = emptyStream("short")
    let version = 0
    return () => {
      if (version === size) {
        stream = emptyStream("short")
        version = 0
      }
      return { stream, version: ++version }
    }
  }
  const ours = growing()
  const plainly = growing()
  await suite.compare({
    name,
    backend: backend.name,
    size,
    peerTarget: options.peerTarget,
    contenders: [
      {
        name: library,
        run: work(backend.runtime, Effect.suspend(() => plain.execute(id(ours().stream.id), deposit)))
      },
      {
        name: "@effect/sql select and insert",
        run: work(
          backend.runtime,
          Effect.suspend(() => {
            const { stream, version } = plainly()
            return Effect.zipRight(selectTail(stream), insertEvent(stream, version, deposited))
          })
        )
      },
      ...options.peers.map((peer): Contender => {
        const theirs = growing()
        return { name: peer.name, run: repeat(() => peer.command(theirs().stream.id)) }
      })
    ]
  })
}

const selectEvents = (stream: StreamId.StreamId) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql): Effect.Effect<ReadonlyArray<unknown>, SqlError.SqlError> =>
      sql.onDialectOrElse({
        pg: () =>
          sql`SELECT aggregate, stream_id, version, transaction, position, event_id, type, payload, metadata,
  floor(extract(epoch FROM time) * 1000)::bigint AS time
FROM eventsourcing_events WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} ORDER BY version`,
        orElse: () =>
          sql`SELECT aggregate, stream_id, version, CAST(position AS TEXT) AS position, event_id, type, payload, metadata,
  time
FROM eventsourcing_events WHERE aggregate = ${stream.aggregate} AND stream_id = ${stream.id} ORDER BY version`
      })
  )

/** The events of a short stream as a consumer of them gets them, not a repository: as an array, and as a Stream. */
export const read = async (
  suite: Suite,
  backend: Backend,
  options: { readonly peers: ReadonlyArray<Peer>; readonly peerTarget?: ((peer: string) => number) | undefined }
): Promise<void> => {
  const size = 5
  const name = `read of ${size} events`
  if (!suite.wants(name, backend.name)) return
  const store = await backend.runtime.runPromise(EventStore.EventStore)
  const stream = await prepared(backend, size)
  for (const peer of options.peers) await peer.seed(stream.id, size)
  await suite.compare({
    name,
    backend: backend.name,
    size,
    peerTarget: options.peerTarget,
    contenders: [
      { name: library, run: work(backend.runtime, store.readEvents(stream, { limit: 1_000 })) },
      { name: "@effect/sql select", run: work(backend.runtime, selectEvents(stream)) },
      ...options.peers.map((peer) => ({ name: peer.name, run: repeat(() => peer.read(stream.id)) }))
    ]
  })
  await suite.compare({
    name: `${name} as a Stream`,
    backend: backend.name,
    size,
    contenders: [
      { name: library, run: work(backend.runtime, Stream.runCollect(store.read(stream))) },
      {
        name: "@effect/sql select, as a Stream",
        run: work(backend.runtime, Stream.runCollect(Stream.fromIterableEffect(selectEvents(stream))))
      }
    ]
  })
}

/** Commands on a long stream without a snapshot, whose state is cached. */
export const cachedCommand = async (
  suite: Suite,
  backend: Backend,
  options: { readonly size: number; readonly target: number }
): Promise<void> => {
  const name = "command, cached state"
  if (!suite.wants(name, backend.name)) return
  const stream = streamOf("command-cached")
  await backend.runtime.runPromise(seed(stream, options.size))
  const cached = await repository(backend, { cache: { capacity: 100 } })
  await backend.settle()
  await suite.compare({
    name,
    backend: backend.name,
    size: options.size,
    target: options.target,
    contenders: [
      { name: library, run: work(backend.runtime, cached.execute(id(stream.id), deposit)) },
      {
        name: "@effect/sql select and insert",
        run: work(
          backend.runtime,
          Effect.zipRight(selectSnapshot(stream), inserts(emptyStream("command-cached-plain")))
        )
      }
    ]
  })
}

/** What background snapshots add to the commands, each of which is timed. */
export const background = async (suite: Suite, backend: Backend, rounds: number): Promise<void> => {
  const name = "command, background snapshots every 100"
  if (!suite.wants(name, backend.name)) return
  const commands = 400
  const samples = { manual: new Array<number>(), background: new Array<number>() }
  const medians = { manual: new Array<number>(), background: new Array<number>() }
  await backend.runtime.runPromise(Effect.scoped(Effect.gen(function*() {
    const repositories = {
      manual: yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual }),
      background: yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 100 }) })
    }
    const block = (mode: keyof typeof repositories) =>
      Effect.gen(function*() {
        const { awaitPendingSnapshots, createSnapshot, execute } = repositories[mode]
        const account = id(`snapshots-${mode}`)
        const times: Array<number> = []
        for (let i = 0; i < commands; i++) {
          const start = performance.now()
          yield* execute(account, deposit)
          times.push(performance.now() - start)
          // as often as the other mode does, outside the time
          if (mode === "manual" && i % 100 === 99) yield* createSnapshot(account)
        }
        yield* awaitPendingSnapshots
        return times
      })
    for (let round = -1; round < rounds; round++) {
      for (const mode of round % 2 === 0 ? ["manual", "background"] as const : ["background", "manual"] as const) {
        const times = yield* block(mode)
        if (round < 0) continue
        for (const time of times) samples[mode].push(time)
        medians[mode].push(quantile(times, 0.5))
      }
    }
  })))
  suite.add({
    name,
    backend: backend.name,
    size: 1,
    unit: "ms",
    measured: spread(samples.background),
    against: "manual mode",
    floor: spread(samples.manual),
    ratio: ratio(medians.background, medians.manual),
    target: 1.05,
    p99: [quantile(samples.background, 0.99), quantile(samples.manual, 0.99)]
  })
}

/** The stores in memory beside a peer's, which keeps live objects where ours keep what a database would. */
export const inMemory = async (suite: Suite, peer: Peer): Promise<void> => {
  const runtime = ManagedRuntime.make(Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory))
  const store = await runtime.runPromise(EventStore.EventStore)
  const accounts = await runtime.runPromise(Effect.scoped(Repository.make(Account)))
  const against = async (name: string, size: number, ours: Effect.Effect<unknown, unknown>, theirs: () => unknown) => {
    if (!suite.wants(`${name} ${size}`, peer.backend)) return
    await suite.compare({
      name,
      backend: peer.backend,
      size,
      target: 1,
      contenders: [{ name: library, run: work(runtime, ours) }, { name: peer.name, run: repeat(theirs) }]
    })
  }
  for (const size of [100, 10_000]) {
    const stream = streamOf(`length-${size}`)
    await runtime.runPromise(seed(stream, size))
    await peer.seed(stream.id, size)
    await against("full replay", size, accounts.load(id(stream.id)), () => peer.load(stream.id))
  }
  let ours = 0
  let theirs = 0
  await against(
    "append",
    1,
    Effect.suspend(() => {
      const event = { id: newId(), type: deposited._tag, payload: deposited }
      return store.append(streamOf("append"), [event], { expectedVersion: ExpectedVersion.exact(ours++) })
    }),
    () => peer.append("append", theirs++, 1)
  )
  await runtime.dispose()
}
