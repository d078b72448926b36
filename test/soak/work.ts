import {
  Cause,
  Chunk,
  type Context,
  Effect,
  Exit,
  type Fiber,
  Layer,
  Logger,
  Option,
  Schedule,
  Scope,
  Stream,
  Supervisor
} from "effect"
import { Event, EventStore, Position, Repository, SnapshotPolicy, SnapshotStore, StreamId } from "effect-eventsourcing"
import { Faults } from "effect-eventsourcing/testing"
import { PCGRandom } from "effect/Utils"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Account, id } from "../fixtures/Account.js"

export interface Sample {
  readonly seconds: number
  /** Used by objects after a garbage collection, in megabytes. */
  readonly heap: number
  /** Of the whole process, in megabytes. */
  readonly resident: number
  readonly fibers: number
  readonly operations: number
}

export interface Result {
  readonly samples: ReadonlyArray<Sample>
  readonly counts: Readonly<Record<string, number>>
  readonly problems: ReadonlyArray<string>
}

const streams = 300
const hot = 5
const workers = 24

class FiberCount extends Supervisor.AbstractSupervisor<number> {
  alive = 0
  override get value(): Effect.Effect<number> {
    return Effect.sync(() => this.alive)
  }
  override onStart<A, E, R>(
    _context: Context.Context<R>,
    _effect: Effect.Effect<A, E, R>,
    _parent: Option.Option<Fiber.RuntimeFiber<unknown, unknown>>,
    _fiber: Fiber.RuntimeFiber<A, E>
  ): void {
    this.alive++
  }
  override onEnd<A, E>(_exit: Exit.Exit<A, E>, _fiber: Fiber.RuntimeFiber<A, E>): void {
    this.alive--
  }
}

/** Works on both stores for a while, with faults, and then checks everything. */
export const soak = (
  stores: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore, unknown>,
  options: {
    readonly minutes: number
    readonly seed: number
    readonly onSample?: ((sample: Sample) => void) | undefined
  }
): Effect.Effect<Result, unknown> =>
  Effect.gen(function*() {
    const counter = new FiberCount()
    const random = new PCGRandom(options.seed)
    const below = (n: number) => Math.floor(random.number() * n)
    const counts: Record<string, number> = {}
    const count = (name: string) => counts[name] = (counts[name] ?? 0) + 1
    const problems: Array<string> = []
    const wrong = (problem: string) => {
      if (problems.length < 50) problems.push(problem)
    }
    const samples: Array<Sample> = []
    const start = performance.now()
    const seconds = () => (performance.now() - start) / 1_000
    const length = options.minutes * 60

    // what was acknowledged and what was refused goes to a file: kept in memory it would look like a leak
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "soak-"))),
      (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
    )
    const file = path.join(folder, "outcomes")
    let lines: Array<string> = []
    const flush = () => {
      fs.appendFileSync(file, lines.join(""))
      lines = []
    }
    const note = (line: string) => {
      lines.push(`${line}\n`)
      if (lines.length >= 1_000) flush()
    }

    const real = yield* Layer.build(stores)
    const [rawEvents, rawSnapshots] = yield* Effect.all([EventStore.EventStore, SnapshotStore.SnapshotStore]).pipe(
      Effect.provide(real)
    )
    const onFault = (call: Faults.Call, fault: Faults.Fault) => {
      count(`fault ${call.operation.split(".")[0]} ${"when" in fault ? `${fault._tag} ${fault.when}` : fault._tag}`)
    }
    const every = [
      Faults.fail,
      Faults.die,
      Faults.hang,
      Faults.interrupt,
      Faults.lostAcknowledgement,
      Faults.after(Faults.die),
      Faults.after(Faults.hang),
      Faults.after(Faults.interrupt),
      Faults.duplicate,
      Faults.corrupt,
      Faults.delay("5 millis"),
      Faults.delay("50 millis")
    ]
    const events = Faults.makeEventStore(
      rawEvents,
      Faults.seeded({ seed: options.seed, rate: 0.01, faults: every }),
      { onFault }
    )
    const snapshots = Faults.makeSnapshotStore(
      rawSnapshots,
      Faults.seeded({ seed: options.seed + 1, rate: 0.05, faults: every }),
      { onFault }
    )

    const scope = yield* Scope.make()
    const provide = <A, E>(
      effect: Effect.Effect<A, E, EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope>
    ) =>
      effect.pipe(
        Effect.provideService(EventStore.EventStore, events),
        Effect.provideService(SnapshotStore.SnapshotStore, snapshots),
        Scope.extend(scope)
      )
    const accounts = yield* provide(Repository.make(Account, {
      snapshots: SnapshotPolicy.background({ every: 20, timeout: "500 millis" }),
      snapshotTimeout: "500 millis",
      retry: Schedule.forever
    }))

    const judge = (what: string, exit: Exit.Exit<unknown, unknown>): "ok" | "refused" | "unknown" => {
      if (Exit.isSuccess(exit)) return "ok"
      const failure = Cause.failureOption(exit.cause)
      if (Option.isSome(failure)) {
        const error = failure.value
        if (error instanceof EventStore.EventDecodeError || error instanceof EventStore.HistoryGap) {
          if ((counts["fault EventStore Corrupt"] ?? 0) === 0) wrong(`${what}: ${error.message}`)
          return "refused"
        }
        // what a store makes of createSnapshot by hanging, or by interrupting itself
        const gaveUp = what.startsWith("createSnapshot") && /took too long|was interrupted/.test(String(error))
        if (!Faults.isInjected(error) && !gaveUp) wrong(`${what}: ${String(error)}`)
        return error instanceof EventStore.EventStoreError && error.mayHaveAppended ? "unknown" : "refused"
      }
      const defects = Chunk.toReadonlyArray(Cause.defects(exit.cause))
      if (!defects.every(Faults.isInjected)) wrong(`${what}: ${Cause.pretty(exit.cause)}`)
      return "unknown"
    }
    // the hot few are others every twenty seconds, or their histories would be all that is measured
    const streamOf = () => below(2) === 0 ? below(streams) : (Math.floor(seconds() / 20) * hot + below(hot)) % streams

    let commands = 0
    let operations = 0
    const patient = Effect.timeoutOption("5 seconds")
    const execute = Effect.suspend(() => {
      const stream = streamOf()
      const command = ++commands
      let n = 0
      return accounts.executeAll(id(String(stream)), [
        { _tag: "Open" },
        { _tag: "Deposit", amount: 1, times: 1 + below(3) }
      ]).pipe(
        Effect.provideService(Event.IdGenerator, Effect.sync(() => `${command}#${++n}`)),
        patient,
        Effect.exit,
        Effect.map((exit) => {
          const outcome = judge(`execute ${command}`, exit)
          count(`execute ${outcome}`)
          if (Exit.isSuccess(exit)) {
            if (Option.isNone(exit.value)) return
            const { events, state, version } = exit.value.value
            if (state.balance !== version - 1) wrong(`execute: ${stream} at ${version} has ${state.balance}`)
            note(`ok ${command} ${stream} ${version - events.length + 1} ${version}`)
          } else if (outcome === "refused") note(`no ${command}`)
        })
      )
    })
    const load = Effect.suspend(() => {
      const stream = streamOf()
      return Effect.map(Effect.exit(patient(accounts.load(id(String(stream))))), (exit) => {
        count(`load ${judge(`load ${stream}`, exit)}`)
        if (Exit.isFailure(exit) || Option.isNone(exit.value)) return
        const { snapshotOutcome: snapshot, state, version } = exit.value.value
        count(`snapshot ${snapshot._tag}`)
        if (version > 0 && state.balance !== version - 1) wrong(`load: ${stream} at ${version} has ${state.balance}`)
      })
    })
    const createSnapshot = Effect.suspend(() => {
      const stream = streamOf()
      return Effect.map(Effect.exit(patient(accounts.createSnapshot(id(String(stream))))), (exit) => {
        const empty = Exit.isFailure(exit) &&
          Option.exists(Cause.failureOption(exit.cause), (error) => error._tag === "EmptyStream")
        count(`createSnapshot ${empty ? "empty" : judge(`createSnapshot ${stream}`, exit)}`)
      })
    })

    // the feed must give every event once, and every stream in order
    const seen = new Map<string, number>()
    let position = Position.start
    const follow = Effect.suspend(() =>
      events.readPage({ after: position, aggregates: ["Account"], limit: 500 }).pipe(
        Effect.map(({ events, settled }) => {
          for (const event of events) {
            if (Event.isUnreadable(event)) return judge("the feed", Exit.fail(event.error))
            const last = seen.get(event.stream.id) ?? 0
            if (event.version !== last + 1) wrong(`the feed gave ${event.stream.id} ${event.version} after ${last}`)
            seen.set(event.stream.id, event.version)
            position = event.position
            count("feed events")
          }
          position = settled
          return "ok"
        }),
        patient,
        Effect.exit,
        Effect.map((exit) => count(`feed ${judge("the feed", exit)}`)),
        Effect.zipRight(Effect.sleep("20 millis"))
      )
    )

    const going = () => seconds() < length
    const worker = Effect.suspend(() => {
      operations++
      const what = below(20)
      return what < 12 ? execute : what < 19 ? load : createSnapshot
    }).pipe(
      Effect.zipRight(Effect.suspend(() => Effect.sleep(below(30)))),
      Effect.repeat({ while: going })
    )
    const sample = Effect.sync(() => {
      globalThis.gc?.()
      const { heapUsed, rss } = process.memoryUsage()
      const taken = {
        seconds: seconds(),
        heap: heapUsed / 2 ** 20,
        resident: rss / 2 ** 20,
        fibers: counter.alive,
        operations
      }
      samples.push(taken)
      options.onSample?.(taken)
    })

    yield* Effect.all([
      ...Array.from({ length: workers }, () => worker),
      Effect.repeat(follow, { while: going }),
      Effect.zipRight(Effect.sleep(Math.min(5_000, (length * 1_000) / 20)), sample).pipe(
        Effect.repeat({ while: going })
      )
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.supervised(counter))
    yield* Scope.close(scope, Exit.void)

    // --- afterwards, without faults ------------------------------------------------------

    flush()
    const acknowledged = new Map<string, Array<readonly [command: string, from: number, to: number]>>()
    const refused = new Set<string>()
    for (const line of fs.readFileSync(file, "utf8").split("\n")) {
      const [what, command, stream, from, to] = line.split(" ")
      if (what === "no") refused.add(command)
      if (what !== "ok") continue
      const list = acknowledged.get(stream) ?? []
      list.push([command, Number(from), Number(to)])
      acknowledged.set(stream, list)
    }
    const withRaw = <A, E>(
      effect: Effect.Effect<A, E, EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope>
    ) =>
      effect.pipe(
        Effect.provideService(EventStore.EventStore, rawEvents),
        Effect.provideService(SnapshotStore.SnapshotStore, rawSnapshots),
        Effect.scoped
      )
    yield* Stream.runForEach(rawEvents.readAll({ after: position }), (event) =>
      Effect.sync(() => {
        if (event.version !== (seen.get(event.stream.id) ?? 0) + 1) wrong(`the feed has a gap in ${event.stream.id}`)
        seen.set(event.stream.id, event.version)
      }))
    yield* withRaw(Effect.gen(function*() {
      const plain = yield* Repository.make(Account)
      const quick = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      for (let n = 0; n < streams; n++) {
        const name = String(n)
        const ids: Array<string> = []
        yield* rawEvents.read(StreamId.make("Account", name)).pipe(
          Stream.runForEach((event) =>
            Effect.sync(() => {
              ids.push(event.id)
              count("events")
              if (event.version !== ids.length) wrong(`${name} has version ${event.version} in place ${ids.length}`)
              const [command] = event.id.split("#")
              if (refused.has(command)) wrong(`command ${command} was refused and is there`)
            })
          )
        )
        for (const [command, from, to] of acknowledged.get(name) ?? []) {
          for (let version = from; version <= to; version++) {
            if (ids[version - 1]?.startsWith(`${command}#`) !== true) {
              wrong(`event ${version} of ${name} was acknowledged and is not there`)
            }
          }
        }
        if ((seen.get(name) ?? 0) !== ids.length) wrong(`the feed ended ${name} at ${seen.get(name)} of ${ids.length}`)
        const snapshot = yield* rawSnapshots.get(StreamId.make("Account", name), { schemaVersion: 1 })
        // a row that was broken on purpose may claim anything; no load believes it
        if (Option.isSome(snapshot) && snapshot.value.version > ids.length && snapshot.value.version < 1_000_000) {
          wrong(`the snapshot of ${name} is ahead`)
        }
        const [loaded, replayed] = yield* Effect.all([quick.load(id(name)), plain.load(id(name))])
        const differ = loaded.version !== replayed.version || loaded.state.balance !== replayed.state.balance ||
          loaded.state.open !== replayed.state.open
        if (differ) wrong(`${name} loads as ${JSON.stringify(loaded.state)}, replay gives ${JSON.stringify(replayed)}`)
      }
    }))
    // nothing is left running
    yield* Effect.sleep("1 seconds")
    if (counter.alive > 0) wrong(`${counter.alive} fibers are left`)
    return { samples, counts, problems }
  }).pipe(Effect.scoped, Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none)))

/**
 * Whether a series has stopped growing: what its second and its last quarter have in the middle differ by no more than a
 * tenth and a little.
 */
export const isFlat = (values: ReadonlyArray<number>, little: number): boolean => {
  const middle = (from: number, to: number) => {
    const part = values.slice(Math.floor(values.length * from), Math.ceil(values.length * to)).sort((a, b) => a - b)
    return part[part.length >> 1]
  }
  return middle(0.75, 1) <= middle(0.25, 0.5) * 1.1 + little
}
