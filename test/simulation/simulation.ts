import { SqliteClient } from "@effect/sql-sqlite-node"
import {
  Cause,
  Chunk,
  Context,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schedule,
  Schema,
  Scope,
  Stream
} from "effect"
import type * as Library from "effect-eventsourcing"
import { Faults } from "effect-eventsourcing/testing"
import { Dice, type Outcome, run, runUnderTestClock } from "./virtual.js"

/** What is simulated: the library, or a copy of it with a bug planted. */
export type Subject = typeof Library

export interface Options {
  readonly backend?: "memory" | "sqlite" | undefined
  /** Plants a bug in a store, below the injected faults. */
  readonly plant?:
    | ((stores: Stores) => Stores)
    | undefined
}

export interface Stores {
  readonly events: Library.EventStore.EventStore["Type"]
  readonly snapshots: Library.SnapshotStore.SnapshotStore["Type"]
}

export interface Report {
  /** Everything that happened, in order: equal for equal seeds. */
  readonly trace: ReadonlyArray<string>
  /** What must not be. */
  readonly problems: ReadonlyArray<string>
  readonly counts: Readonly<Record<string, number>>
}

// -------------------------------------------------------------------------------------
// the aggregate
// -------------------------------------------------------------------------------------

interface Ledger {
  readonly count: number
  /** Of all amounts in order: another history has another digest. */
  readonly digest: number
}

type Version = 1 | 2 | 3

const Added = Schema.TaggedStruct("Added", { amount: Schema.Int })
type Added = typeof Added.Type

const initial: Ledger = { count: 0, digest: 7 }

// the versions fold differently, so that the state of another one is never right
const evolve = (version: Version) => (state: Ledger, { amount }: Added): Ledger => ({
  count: state.count + 1,
  digest: (state.digest * (30 + version) + amount) % 1_000_003
})

const renamed = Schema.propertySignature(Schema.Int).pipe(Schema.fromKey("hash"))

const define = <Encoded>(subject: Subject, version: Version, state: Schema.Schema<Ledger, Encoded>) =>
  subject.Aggregate.make({
    name: "Ledger",
    id: Schema.String,
    state,
    event: Added,
    command: Schema.Struct({ amounts: Schema.Array(Schema.Int) }),
    schemaVersion: version,
    initial: () => initial,
    evolve: evolve(version),
    decide: (state, { amounts }) =>
      state.count > 0 && amounts.includes(13)
        ? Either.left("unlucky" as const)
        : Either.right(amounts.map((amount) => Added.make({ amount })))
  })

/** One for each version; the first has another shape than those after it. */
const ledgers = (subject: Subject) => ({
  1: define(subject, 1, Schema.Struct({ count: Schema.Int, digest: Schema.Int })),
  2: define(subject, 2, Schema.Struct({ count: Schema.Int, digest: renamed })),
  3: define(subject, 3, Schema.Struct({ count: Schema.Int, digest: renamed }))
})

const made = new WeakMap<Subject, ReturnType<typeof ledgers>>()

const ledger = (subject: Subject, version: Version) => {
  const all = made.get(subject) ?? ledgers(subject)
  made.set(subject, all)
  return all[version]
}

const versions: ReadonlyArray<Version> = [1, 2, 3]

const streams = ["a", "b", "__proto__"]

// -------------------------------------------------------------------------------------
// one run
// -------------------------------------------------------------------------------------

interface Settings {
  readonly threshold: number
  readonly mode: "sync" | "manual" | "inline" | "background"
  readonly workers: number
  readonly capacity: number
  readonly timeout: "10 millis" | "1 seconds"
  readonly drainTimeout: "1 millis" | "1 seconds" | "1 minutes"
}

/**
 * Whole programs on one pair of stores, with faults: processes that start, write, load, close or are ended half way and
 * start again with another schema version, while the clock jumps.
 */
export const simulate = (subject: Subject, seed: number, options: Options = {}): Report => {
  const { judged, program, schedule } = prepare(subject, seed, options)
  return judged(run(schedule, program))
}

/** The same under Effect's own `TestClock` and scheduler, which takes real time. */
export const simulateUnderTestClock = async (
  subject: Subject,
  seed: number,
  options: Options = {}
): Promise<Report> => {
  const { judged, program, schedule } = prepare(subject, seed, options)
  return judged(await runUnderTestClock(schedule, program))
}

const prepare = (subject: Subject, seed: number, options: Options) => {
  const dice = new Dice(seed)
  const trace: Array<string> = []
  const problems: Array<string> = []
  const counts: Record<string, number> = {}
  const count = (name: string) => counts[name] = (counts[name] ?? 0) + 1
  const wrong = (problem: string) => {
    trace.push(`WRONG ${problem}`)
    problems.push(problem)
  }
  const backend = options.backend ?? "memory"

  const { Event, EventStore, Repository, SnapshotPolicy, SnapshotStore, StreamId } = subject
  const streamOf = (id: string) => StreamId.make("Ledger", id)

  // what must be there, and what must not, by the prefix of the event ids of a command
  const acknowledged: Array<
    { readonly id: string; readonly command: string; readonly from: number; readonly to: number }
  > = []
  const refused = new Map<string, string>()
  const known = new Map<string, number>()

  const program = (world: { readonly jump: (by: number) => Effect.Effect<void> }) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const built = backend === "memory"
        ? { events: yield* EventStore.makeMemory, snapshots: yield* SnapshotStore.makeMemory }
        : yield* Layer.buildWithScope(
          Layer.merge(subject.SqlEventStore.layer, subject.SqlSnapshotStore.layer).pipe(
            Layer.provide(subject.Sqlite.layer(SqliteClient.layer, { filename: ":memory:" })),
            Layer.orDie
          ),
          scope
        ).pipe(Effect.map((context) => ({
          events: Context.get(context, EventStore.EventStore),
          snapshots: Context.get(context, SnapshotStore.SnapshotStore)
        })))
      const raw = options.plant === undefined ? built : options.plant(built)

      // --- the truth -------------------------------------------------------------------

      const replayTo = (version: Version, id: string, upTo: number) =>
        raw.events.readTail(streamOf(id), { fromVersion: 1, limit: 1_000_000 }).pipe(
          Effect.orDie,
          Effect.map((page) =>
            page.slice(0, upTo).reduce((state, { payload }) => evolve(version)(state, JSON.parse(payload)), initial)
          )
        )
      const same = (left: Ledger, right: Ledger) => left.count === right.count && left.digest === right.digest

      const checkState = (what: string, version: Version, id: string, upTo: number, state: Ledger) =>
        Effect.map(replayTo(version, id, upTo), (expected) => {
          if (!same(expected, state)) {
            wrong(`${what} of ${id} at ${upTo}: ${JSON.stringify(state)}, replay gives ${JSON.stringify(expected)}`)
          }
        })

      // every snapshot that a repository offers to the store is right, whatever the store makes of it
      const observed = (store: Stores["snapshots"]): Stores["snapshots"] =>
        SnapshotStore.SnapshotStore.of({
          ...store,
          save: (snapshot) =>
            Effect.gen(function*() {
              const { stream: { id }, version } = snapshot
              const [event] = yield* Effect.orDie(
                raw.events.readTail(snapshot.stream, { fromVersion: version, limit: 1 })
              )
              if (event?.version !== version) wrong(`a snapshot of ${id} at ${version} is ahead of the stream`)
              else if (event.eventId !== snapshot.eventId) {
                wrong(`a snapshot of ${id} at ${version} has a wrong event id`)
              }
              const state: { readonly count: number; readonly digest?: number; readonly hash?: number } = JSON.parse(
                snapshot.state
              )
              const schemaVersion = versions.find((each) => each === snapshot.schemaVersion) ?? 1
              yield* checkState("a snapshot", schemaVersion, id, version, {
                count: state.count,
                digest: state.digest ?? state.hash ?? -1
              })
              count("saves")
              return yield* store.save(snapshot)
            })
        })

      // the store itself never goes back to an older snapshot
      const held = new Map<string, number>()
      const monotonic = (store: Stores["snapshots"]): Stores["snapshots"] =>
        SnapshotStore.SnapshotStore.of({
          ...store,
          save: (snapshot) =>
            Effect.gen(function*() {
              const outcome = yield* store.save(snapshot)
              const { schemaVersion, stream, version } = snapshot
              const found = yield* store.get(stream, { schemaVersion })
              const key = `${stream.id} ${schemaVersion}`
              const now = Option.match(found, { onNone: () => 0, onSome: (row) => row.version })
              if (now < (held.get(key) ?? 0)) wrong(`the snapshot of ${key} went back from ${held.get(key)} to ${now}`)
              if (outcome === "Saved" && now !== version) wrong(`the saved snapshot of ${key} is not there`)
              held.set(key, now)
              return outcome
            }),
          delete: (stream, options) =>
            Effect.tap(store.delete(stream, options), (deleted) => {
              if (deleted > 0) held.delete(`${stream.id} ${options?.schemaVersion}`)
            })
        })

      // --- faults ----------------------------------------------------------------------

      const delays = [1, 3, 10, 40, 2_000].map((millis) => Faults.delay(millis))
      const every: ReadonlyArray<Faults.Fault> = [
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
        ...delays
      ]
      // on calm days stores are slow and no more than that: then no due snapshot may be lost
      const calm = dice.chance(0.25)
      const plan = (rate: number, faults: ReadonlyArray<Faults.Fault>) =>
        Faults.seeded({ seed: dice.seed(), rate, faults })
      const eventPlan = plan(calm ? 0 : dice.oneOf([0, 0.03, 0.1]), every)
      const snapshotPlan = calm ? plan(0.5, delays.slice(0, 4)) : plan(dice.oneOf([0, 0.1, 0.3, 0.7]), every)
      let eventsCorrupt = false
      let eventsInterrupt = false
      let snapshotsInterrupt = false
      const onFault = (call: Faults.Call, fault: Faults.Fault) => {
        count("faults")
        trace.push(`fault ${call.operation} ${call.n} ${fault._tag}`)
        if (call.operation.startsWith("EventStore")) {
          eventsCorrupt ||= fault._tag === "Corrupt"
          eventsInterrupt ||= fault._tag === "Interrupt"
        } else snapshotsInterrupt ||= fault._tag === "Interrupt"
      }
      const events = Faults.makeEventStore(raw.events, eventPlan, { onFault })
      // both stores as they are share a database: they are read in one round trip, and may be written in one transaction
      const shared = backend === "sqlite" && dice.chance(0.5)
      const snapshots = shared
        ? raw.snapshots
        : observed(Faults.makeSnapshotStore(monotonic(raw.snapshots), snapshotPlan, { onFault }))

      // --- processes -------------------------------------------------------------------

      const judge = (what: string, exit: Exit.Exit<unknown, unknown>, killed: boolean) => {
        if (Exit.isSuccess(exit)) return "ok"
        const failure = Cause.failureOption(exit.cause)
        if (Option.isSome(failure)) {
          const error = failure.value
          if (error === "unlucky") return "rejected"
          const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : "untyped"
          // what a store makes of createSnapshot by hanging, or by interrupting itself
          const gaveUp = what.startsWith("createSnapshot") && tag === "SnapshotStoreError" &&
            (String(error).includes("took too long") ||
              (snapshotsInterrupt && String(error).includes("was interrupted")))
          const expected = tag === "VersionConflict" || tag === "EmptyStream" || Faults.isInjected(error) || gaveUp ||
            (eventsCorrupt && (tag === "EventDecodeError" || tag === "HistoryGap" || tag === "EventStoreError"))
          if (!expected) wrong(`${what} failed with ${String(error)}`)
          if (tag === "SnapshotStoreError" && !what.startsWith("createSnapshot")) wrong(`${what} failed by a snapshot`)
          return tag
        }
        const defects = Chunk.toReadonlyArray(Cause.defects(exit.cause))
        if (defects.length > 0) {
          const strict = what.startsWith("createSnapshot")
          if (
            !defects.every((defect) =>
              Faults.isInjected(defect) && (strict || !String(defect).includes("SnapshotStore"))
            )
          ) {
            wrong(`${what} died with ${Cause.pretty(exit.cause)}`)
          }
          return "died"
        }
        const may = killed || eventsInterrupt || (what.startsWith("createSnapshot") && snapshotsInterrupt)
        if (!may) wrong(`${what} was interrupted`)
        return "interrupted"
      }

      let commands = 0

      const writer = (
        name: string,
        version: Version,
        repository: Effect.Effect.Success<ReturnType<typeof make>>,
        seed: number,
        last: Map<string, number>,
        killed: boolean
      ) =>
        Effect.gen(function*() {
          const own = new Dice(seed)
          for (let n = own.between(2, 5); n > 0; n--) {
            if (own.chance(0.7)) yield* Effect.sleep(own.oneOf([0, 1, 5, 20, 300]))
            const id = own.oneOf(streams)
            const what = own.number(10)
            if (what < 6) {
              const command = `${name}.${++commands}`
              let ids = 0
              const amounts = Array.from({ length: own.between(0, 4) }, () => own.number(14))
              const parts = own.chance(0.3) ? [amounts, [own.number(12)]] : [amounts]
              const exit = yield* repository.executeAll(id, parts.map((amounts) => ({ amounts }))).pipe(
                Effect.provideService(Event.IdGenerator, Effect.sync(() => `${command}#${++ids}`)),
                // as a caller does who has waited long enough
                Effect.timeoutOption("2 minutes"),
                Effect.onExit((exit) =>
                  Effect.sync(() => {
                    const outcome = judge(`execute ${command}`, exit, killed)
                    trace.push(`${name} execute ${id} ${command} ${outcome}`)
                    count(`execute ${outcome}`)
                    if (Exit.isSuccess(exit)) {
                      if (Option.isNone(exit.value)) return
                      const { events, version: to } = exit.value.value
                      acknowledged.push({ id, command, from: to - events.length + 1, to })
                      known.set(id, Math.max(known.get(id) ?? 0, to))
                      if (events.length > 0) last.set(id, Math.max(last.get(id) ?? 0, to))
                      return
                    }
                    const failure = Cause.failureOption(exit.cause)
                    const sure = Option.isSome(failure) && !(
                      typeof failure.value === "object" && failure.value !== null &&
                      "mayHaveAppended" in failure.value &&
                      failure.value.mayHaveAppended
                    )
                    if (sure) refused.set(command, outcome)
                  })
                ),
                Effect.exit
              )
              if (Exit.isSuccess(exit) && Option.isSome(exit.value)) {
                yield* checkState("the result", version, id, exit.value.value.version, exit.value.value.state)
              }
            } else if (what < 8) {
              const least = known.get(id) ?? 0
              const exit = yield* Effect.exit(Effect.timeoutOption(repository.load(id), "2 minutes"))
              const outcome = judge(`load ${id}`, exit, killed)
              count(`load ${outcome}`)
              if (Exit.isSuccess(exit) && Option.isSome(exit.value)) {
                const loaded = exit.value.value
                trace.push(`${name} load ${id} ${loaded.version} by ${loaded.snapshotVersion} ${loaded.snapshot._tag}`)
                count(`snapshot ${loaded.snapshot._tag}`)
                if (loaded.version < least) wrong(`a load of ${id} gave ${loaded.version}, ${least} was acknowledged`)
                yield* checkState("a load", version, id, loaded.version, loaded.state)
              }
            } else if (what === 8) {
              const exit = yield* Effect.exit(Effect.timeoutOption(repository.createSnapshot(id), "2 minutes"))
              trace.push(`${name} createSnapshot ${id} ${judge(`createSnapshot ${id}`, exit, killed)}`)
            } else {
              // one that never returns is a deadlock in the end
              yield* repository.awaitPendingSnapshots
              trace.push(`${name} await`)
            }
          }
        })

      const settings = (own: Dice): Settings => ({
        threshold: own.between(1, 5),
        mode: own.oneOf(["sync", "manual", "background", "background", shared ? "inline" : "background"] as const),
        workers: own.between(1, 3),
        capacity: calm ? streams.length : own.between(1, streams.length),
        timeout: calm ? "1 seconds" : own.oneOf(["10 millis", "1 seconds"] as const),
        drainTimeout: calm ? "1 minutes" : own.oneOf(["1 millis", "1 seconds", "1 minutes"] as const)
      })

      const make = (version: Version, own: Dice, settings: Settings) => {
        return Repository.make(ledger(subject, version), {
          snapshots: settings.mode === "manual"
            ? SnapshotPolicy.manual
            : settings.mode === "sync"
            ? SnapshotPolicy.sync({ every: settings.threshold })
            : settings.mode === "inline"
            ? SnapshotPolicy.inline({ every: settings.threshold })
            : SnapshotPolicy.background({
              every: settings.threshold,
              workers: settings.workers,
              capacity: settings.capacity,
              timeout: settings.timeout,
              drainTimeout: settings.drainTimeout
            }),
          pageSize: own.oneOf([2, 3, 1_000]),
          snapshotTimeout: settings.timeout,
          snapshotOnLoad: own.chance(0.8),
          ...(own.chance(0.2) ? { retry: Schedule.recurs(1) } : {})
        }).pipe(
          Effect.orDie,
          Effect.provideService(EventStore.EventStore, events),
          Effect.provideService(SnapshotStore.SnapshotStore, snapshots)
        )
      }

      const process = (name: string, seed: number) =>
        Effect.gen(function*() {
          const own = new Dice(seed)
          for (let life = own.between(1, 2); life > 0; life--) {
            const version = own.oneOf(versions)
            const chosen = settings(own)
            const last = new Map<string, number>()
            const ending = own.oneOf(["end", "end", "failure", "killed"])
            trace.push(`${name} starts with version ${version}`)
            const fiber = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
              const repository = yield* make(version, own, chosen)
              const seeds = Array.from({ length: own.between(1, 2) }, () => own.seed())
              yield* Effect.forEach(
                seeds,
                (seed, index) => writer(`${name}${index}`, version, repository, seed, last, ending === "killed"),
                {
                  concurrency: "unbounded",
                  discard: true
                }
              )
              if (ending === "failure") yield* Effect.fail("planned")
            })))
            if (ending === "killed") {
              yield* Effect.sleep(own.between(0, 400))
              yield* Fiber.interrupt(fiber)
            }
            const exit = yield* Fiber.await(fiber)
            const planned = Exit.isSuccess(exit) || Cause.failures(exit.cause).pipe(Chunk.contains("planned")) ||
              (ending === "killed" && Cause.isInterruptedOnly(exit.cause))
            if (!planned) wrong(`${name} ended with ${Cause.pretty(exit.cause)}`)
            trace.push(`${name} ended: ${ending}`)
            if (!calm || ending === "killed" || chosen.mode === "manual") continue
            // what was due when it closed is there
            for (const [id, to] of last) {
              const found = yield* Effect.orDie(raw.snapshots.get(streamOf(id), { schemaVersion: version }))
              const held = Option.exists(
                found,
                (row) => row.schemaVersion === version && row.version > to - chosen.threshold
              )
              count("closings")
              if (!held && to >= chosen.threshold) wrong(`${name} lost the snapshot of ${id} at ${to}`)
            }
          }
        })

      const jumps = Effect.gen(function*() {
        for (let n = calm ? 0 : dice.number(4); n > 0; n--) {
          yield* Effect.sleep(dice.between(1, 500))
          const by = dice.oneOf([-3_600_000, -1_000, 3_000, 3_600_000])
          trace.push(`the clock jumps by ${by}`)
          yield* world.jump(by)
        }
      })

      yield* Effect.all([
        jumps,
        ...Array.from({ length: dice.between(1, 3) }, (_, n) => process("pqr"[n], dice.seed()))
      ], { concurrency: "unbounded", discard: true })

      // --- afterwards, without faults ----------------------------------------------------

      const stored = new Map<string, ReadonlyArray<Library.Event.RecordedEvent>>()
      const ids = new Set<string>()
      const written = new Map<string, number>()
      for (const id of streams) {
        const recorded = Chunk.toReadonlyArray(yield* Effect.orDie(Stream.runCollect(raw.events.read(streamOf(id)))))
        stored.set(id, recorded)
        for (const [index, event] of recorded.entries()) {
          if (event.version !== index + 1) wrong(`${id} has version ${event.version} in place ${index + 1}`)
          if (ids.has(event.id)) wrong(`event ${event.id} stands twice`)
          ids.add(event.id)
          const command = event.id.slice(0, event.id.indexOf("#"))
          written.set(command, (written.get(command) ?? 0) + 1)
          if (refused.has(command)) wrong(`${command} was reported as ${refused.get(command)} and stands in ${id}`)
        }
      }
      for (const { command, from, id, to } of acknowledged) {
        const recorded = stored.get(id) ?? []
        if ((written.get(command) ?? 0) !== to - from + 1) {
          wrong(`${command} stands ${written.get(command)} times in ${id}`)
        }
        for (let version = from; version <= to; version++) {
          if (recorded[version - 1]?.id.startsWith(`${command}#`) !== true) {
            wrong(`the acknowledged event ${version} of ${id} by ${command} is not there`)
          }
        }
      }
      for (const version of versions) {
        yield* Effect.scoped(Effect.gen(function*() {
          const repository = yield* Repository.make(ledger(subject, version), {
            snapshots: SnapshotPolicy.background({ every: 3 })
          }).pipe(
            Effect.orDie,
            Effect.provideService(EventStore.EventStore, raw.events),
            Effect.provideService(SnapshotStore.SnapshotStore, observed(monotonic(raw.snapshots)))
          )
          for (const id of streams) {
            const first = yield* Effect.orDie(repository.load(id))
            yield* repository.awaitPendingSnapshots
            const second = yield* Effect.orDie(repository.load(id))
            for (const loaded of [first, second]) {
              yield* checkState("the last load", version, id, loaded.version, loaded.state)
              if (loaded.version !== (stored.get(id)?.length ?? 0)) wrong(`${id} loads at version ${loaded.version}`)
            }
            if (second.version - second.snapshotVersion >= 3) wrong(`the snapshot of ${id} was not repaired`)
          }
        }))
      }
      yield* Scope.close(scope, Exit.void)
      count("runs")
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None))

  return {
    schedule: dice.seed(),
    program,
    judged: (outcome: Outcome<void>): Report => {
      if (outcome._tag === "Deadlock") wrong("everything waits, and nothing will happen")
      else if (Exit.isFailure(outcome.exit)) wrong(`the program died: ${Cause.pretty(outcome.exit.cause)}`)
      return { trace, problems, counts }
    }
  }
}
