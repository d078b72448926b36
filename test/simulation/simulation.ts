import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import {
  Cause,
  Chunk,
  Clock,
  Context,
  Duration,
  Effect,
  Either,
  Exit,
  Fiber,
  FiberRef,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schedule,
  Schema,
  Scope,
  Stream
} from "effect"
import { Faults } from "effect-eventsourcing/testing"
import { Forced } from "../../src/internal/sql/appendGroups.js"
import type * as Library from "./library.js"
import { makeRecorder } from "./recorder.js"
import { Dice, type Outcome, run, runUnderTestClock } from "./virtual.js"

/** What is simulated: the library, or a copy of it with a bug planted. */
export type Subject = typeof Library

export interface Options {
  readonly backend?: "memory" | "sqlite" | undefined
  /** Whether every append on SQLite is in a group. */
  readonly grouped?: boolean | undefined
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

export interface Ledger {
  readonly count: number
  /** Of all amounts in order: another history has another digest. */
  readonly digest: number
}

export type Version = 1 | 2 | 3

const Added = Schema.TaggedStruct("Added", { amount: Schema.Int })
type Added = typeof Added.Type

export const initial: Ledger = { count: 0, digest: 7 }

// the versions fold differently, so that the state of another one is never right
export const evolve = (version: Version) => (state: Ledger, { amount }: Added): Ledger => ({
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
    initial: () => ({ ...initial }),
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

export const ledger = (subject: Subject, version: Version) => {
  const all = made.get(subject) ?? ledgers(subject)
  made.set(subject, all)
  return all[version]
}

export const versions: ReadonlyArray<Version> = [1, 2, 3]

const streams = ["a", "b", "__proto__"]

// -------------------------------------------------------------------------------------
// one run
// -------------------------------------------------------------------------------------

const bounds = { "1 millis": 1, "10 millis": 10, "1 seconds": 1_000, "1 minutes": 60_000 }

interface Settings {
  readonly threshold: number
  readonly mode: "sync" | "manual" | "inline" | "background"
  readonly workers: number
  readonly capacity: number
  readonly timeout: "10 millis" | "1 seconds"
  readonly drainTimeout: "1 millis" | "1 seconds" | "1 minutes"
  readonly cache: { readonly capacity: number; readonly timeToLive: "100 millis" | "1 days" } | undefined
  readonly concurrentReplays: number | undefined
  readonly maxReplay: number | undefined
  readonly verify: boolean
  /** Whether a lost race is decided again once only. */
  readonly once: boolean
}

/** One call of the program; what works in the background is none. */
interface Doing {
  /** The faults that happened during it. */
  readonly met: Array<{ readonly call: Faults.Call; readonly fault: Faults.Fault }>
  /** Whether it holds a transaction open. */
  readonly open: boolean
  readonly process: Process
}

interface Process {
  readonly settings: Settings
  /** It is ended half way. */
  readonly killed: boolean
  /** Some call of the event store hung in it: whoever waits for that one waits too. */
  hung: boolean
  /** Streams of transactions that did not commit: a worker waits for them by real time, of which there is none here. */
  readonly rolledBack: Set<string>
}

const doing = FiberRef.unsafeMake<Doing | undefined>(undefined)

/** What the fiber that runs now is doing, or what it was forked for. */
const now = (): Doing | undefined =>
  Option.getOrUndefined(Option.map(Fiber.getCurrentFiber(), (fiber) => fiber.getFiberRef(doing)))

const isOfEvents = ({ operation }: Faults.Call): boolean => operation.startsWith("EventStore")

/** The marks of what was injected, in an error, a defect and what caused them. */
const marks = (error: unknown): ReadonlyArray<Faults.Injected> => {
  const found: Array<Faults.Injected> = []
  for (let current = error; typeof current === "object" && current !== null;) {
    if (current instanceof Faults.Injected) found.push(current)
    current = "cause" in current ? current.cause : undefined
  }
  return found
}

/** Whoever was given a state may do with it what he likes. */
const spoil = (state: Ledger): void => {
  Object.assign(state, { count: -1, digest: -1 })
}

/** As a caller does who has waited long enough, whatever becomes of what he waited for. */
const patient = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Option.Option<A>, E> =>
  Effect.timeoutOption(Effect.disconnect(effect), "2 minutes")

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
  const { count, report, trace, wrong } = makeRecorder()
  const backend = options.backend ?? "memory"

  const { Event, EventStore, Repository, SnapshotPolicy, SnapshotStore, StreamId } = subject
  const streamOf = (id: string) => StreamId.make("Ledger", id)

  // what must be there, and what must not, by the prefix of the event ids of a command
  const acknowledged: Array<
    { readonly id: string; readonly command: string; readonly from: number; readonly to: number }
  > = []
  const refused = new Map<string, string>()
  /** The tries of each command that did not surely fail. */
  const tries = new Map<string, number>()
  const known = new Map<string, number>()
  let jumped = 0

  // in some runs commands have ids, and are sent again by any writer; the others draw as they did without ids
  const again = new Dice(seed)
  const repeating = seed % 3 === 2
  const sent: Array<{ readonly command: string; readonly parts: ReadonlyArray<ReadonlyArray<number>> }> = []
  /** The name of a command on a stream: the same id may go to several. */
  const nameOf = (command: string, id: string) => `${command}@${id}`
  const began = (name: string) => tries.set(name, (tries.get(name) ?? 0) + 1)
  const refuse = (name: string, why: string) => {
    tries.set(name, (tries.get(name) ?? 0) - 1)
    refused.set(name, why)
  }

  const program = (world: { readonly jump: (by: number) => Effect.Effect<void> }) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const memory = Effect.all({ events: EventStore.makeMemory, snapshots: SnapshotStore.makeMemory })
      const sqlite = Layer.buildWithScope(
        subject.SqlStores.layer.pipe(
          Layer.provide(Layer.succeed(Forced, options.grouped === true)),
          Layer.provideMerge(subject.Sqlite.layer(SqliteClient.layer, { filename: ":memory:" })),
          Layer.orDie
        ),
        scope
      ).pipe(Effect.map((context) => ({
        events: Context.get(context, EventStore.EventStore),
        snapshots: Context.get(context, SnapshotStore.SnapshotStore),
        client: Context.get(context, SqlClient.SqlClient)
      })))
      const built: Stores & { readonly client?: SqlClient.SqlClient } = yield* backend === "memory" ? memory : sqlite
      const client = built.client
      const raw = options.plant === undefined ? built : options.plant(built)

      // --- the truth -------------------------------------------------------------------

      const replayTo = (version: Version, id: string, upTo: number) =>
        raw.events.replay.readTail(streamOf(id), { fromVersion: 1, limit: 1_000_000 }).pipe(
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
                raw.events.replay.readTail(snapshot.stream, { fromVersion: version, limit: 1 })
              )
              if (event?.version !== version) wrong(`a snapshot of ${id} at ${version} is ahead of the stream`)
              else if (![event.eventId, `${event.eventId}@${event.time}`].includes(snapshot.eventId)) {
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
        Faults.stuck,
        Faults.interrupt,
        Faults.lostAcknowledgement,
        Faults.after(Faults.die),
        Faults.after(Faults.hang),
        Faults.after(Faults.stuck),
        Faults.after(Faults.interrupt),
        Faults.duplicate,
        Faults.corrupt,
        ...delays
      ]
      // on calm days stores are slow and no more than that: then no due snapshot may be lost
      const calm = dice.chance(0.25)
      // both stores as they are share a database: they are read in one round trip, and may be written in one transaction
      const shared = client !== undefined && dice.chance(0.5)
      const plan = (rate: number, faults: ReadonlyArray<Faults.Fault>): Faults.Plan => {
        const seeded = Faults.seeded({ seed: dice.seed(), rate, faults })
        return {
          start: () => {
            const ask = seeded.start()
            return (call) => {
              const fault = ask(call)
              // what is stuck with the only connection in hand is the end of everything
              const mayBeStuck = !shared && now()?.open !== true
              return fault?._tag === "Hang" && !mayBeStuck ? { _tag: "Hang", when: fault.when } : fault
            }
          }
        }
      }
      const eventPlan = plan(calm ? 0 : dice.oneOf([0, 0.03, 0.1]), every)
      const snapshotPlan = calm ? plan(0.5, delays.slice(0, 4)) : plan(dice.oneOf([0, 0.1, 0.3, 0.7]), every)
      // an inline snapshot holds the connection that all wait for
      let heldUp = false
      let hungBehind = false
      const onFault = (call: Faults.Call, fault: Faults.Fault) => {
        count("faults")
        trace.push(`fault ${call.operation} ${call.n} ${fault._tag}`)
        const current = now()
        current?.met.push({ call, fault })
        if (fault._tag !== "Hang" || !isOfEvents(call)) return
        if (current === undefined) hungBehind = true
        else current.process.hung = true
        heldUp ||= shared
      }
      const events = Faults.makeEventStore(raw.events, eventPlan, { onFault })
      const snapshots = shared
        ? raw.snapshots
        : observed(Faults.makeSnapshotStore(monotonic(raw.snapshots), snapshotPlan, { onFault }))

      // --- processes -------------------------------------------------------------------

      // an error needs a reason in the very call that it ends: an injected fault of a store whose faults may show there
      const judge = (
        what: string,
        exit: Exit.Exit<Option.Option<unknown>, unknown>,
        call: Doing & {
          readonly undisturbed: boolean
          readonly took: number
          readonly mayBeEmpty: boolean
          readonly besideTransaction: boolean
        }
      ) => {
        const { mayBeEmpty, met, open, process: { hung, killed, settings } } = call
        const strict = what.startsWith("createSnapshot")
        const relevant = met.filter(({ call }) => strict || isOfEvents(call))
        const isMet = (tag: Faults.Fault["_tag"]) => relevant.some(({ fault }) => fault._tag === tag)
        const isMarked = (error: unknown) => {
          const found = marks(error)
          return found.length > 0 &&
            found.every((mark) =>
              relevant.some(({ call }) => call.operation === mark.operation && call.n === mark.call)
            )
        }
        // whoever waits for what another one does waits for his faults too
        const waits = settings.cache !== undefined || settings.concurrentReplays !== undefined
        if (Exit.isSuccess(exit) && Option.isNone(exit.value)) {
          if (call.undisturbed && !isMet("Hang") && !(waits && (hung || hungBehind)) && !heldUp) {
            wrong(`${what} never ended`)
          }
          return "gave up"
        }
        if (client === undefined && call.undisturbed && !waits && !isMet("Hang")) {
          const slow = met.reduce((sum, { call, fault }) => {
            const delay = fault._tag === "Delay" ? Duration.toMillis(fault.duration) : Infinity
            const bound = isOfEvents(call) ? delay : Math.min(delay, strict ? Infinity : bounds[settings.timeout])
            return sum + (bound === Infinity ? 0 : bound)
          }, 0)
          // the rest is waiting for another try after lost races
          if (call.took > slow + 3_000) wrong(`${what} took ${call.took} ms, of which ${slow} are due to faults`)
        }
        if (Exit.isSuccess(exit)) return "ok"
        const failure = Cause.failureOption(exit.cause)
        if (Option.isSome(failure)) {
          const error = failure.value
          if (error === "unlucky") return "rejected"
          if (error === "rolled back" && open) return "rolled back"
          if (error === "too slow" && open) {
            if (call.undisturbed && met.length === 0) wrong(`${what} never ended`)
            return "gave up"
          }
          const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : "untyped"
          // what was read wrongly is told as such, or has no id to tell
          const misread = relevant.some(({ call, fault }) =>
            fault._tag === "Corrupt" && !(call.operation === "EventStore.readWithSnapshot" && call.n % 2 === 1)
          )
          // what a store makes of createSnapshot by hanging, by being slow, or by interrupting itself
          const gaveUp = strict && tag === "SnapshotStoreError" && (
            (String(error).includes("took too long") && (isMet("Hang") || isMet("Delay") || call.besideTransaction)) ||
            (String(error).includes("was interrupted") && isMet("Interrupt"))
          )
          const expected = isMarked(error) || gaveUp ||
            (tag === "VersionConflict" && settings.once) ||
            (tag === "EmptyStream" && strict && mayBeEmpty) ||
            (tag === "ReplayTooLong" && settings.maxReplay !== undefined && !strict) ||
            (misread &&
              ["EventDecodeError", "HistoryGap", "HistoryRewritten", "EventStoreError"].includes(tag))
          if (!expected) wrong(`${what} failed with ${String(error)}`)
          if (tag === "SnapshotStoreError" && !strict) wrong(`${what} failed by a snapshot`)
          return tag
        }
        const defects = Chunk.toReadonlyArray(Cause.defects(exit.cause))
        if (defects.length > 0) {
          if (!defects.every(isMarked)) wrong(`${what} died with ${Cause.pretty(exit.cause)}`)
          return "died"
        }
        if (!killed && !isMet("Interrupt")) wrong(`${what} was interrupted`)
        return "interrupted"
      }

      // SQLite has one connection, and whoever is in a transaction holds it
      let open = 0
      let opened = 0

      /** Does it, and judges how it ended. */
      const attempt = <A, E>(
        what: string,
        process: Process,
        effect: Effect.Effect<A, E>,
        options: { readonly open?: boolean | undefined; readonly id?: string | undefined } = {}
      ) =>
        Effect.suspend(() => {
          const call: Doing = { met: [], open: options.open === true, process }
          const before = jumped
          const openBefore = open
          const openedBefore = opened
          if (call.open) {
            open++
            opened++
          }
          const mayBeEmpty = options.id !== undefined && (known.get(options.id) ?? 0) === 0
          return Effect.flatMap(Clock.currentTimeMillis, (began) =>
            patient(effect).pipe(
              Effect.locally(doing, call),
              Effect.onExit((exit) =>
                Effect.map(Clock.currentTimeMillis, (ended) => {
                  const undisturbed = jumped === before
                  const besideTransaction = openBefore > 0 || opened > openedBefore
                  if (call.open) open--
                  const took = ended - began
                  const outcome = judge(what, exit, { ...call, undisturbed, took, mayBeEmpty, besideTransaction })
                  trace.push(`${what} ${outcome}`)
                  count(`${what.slice(0, what.indexOf(" "))} ${outcome}`)
                })
              ),
              Effect.exit,
              Effect.map((exit) => Exit.map(exit, Option.getOrUndefined))
            ))
        })

      let commands = 0

      const writer = (
        name: string,
        version: Version,
        repository: Library.Repository.Repository<ReturnType<typeof ledger>>,
        seed: number,
        last: Map<string, number>,
        process: Process
      ) =>
        Effect.gen(function*() {
          const own = new Dice(seed)
          const draw = (id: string) => {
            const first = `${name}.${++commands}`
            let ids = 0
            const amounts = Array.from({ length: own.between(0, 4) }, () => own.number(14))
            const parts = own.chance(0.3) ? [amounts, [own.number(12)]] : [amounts]
            const withId = repeating && again.chance(0.6)
            if (withId && (sent.length === 0 || again.chance(0.5))) sent.push({ command: first, parts })
            const chosen = withId ? again.oneOf(sent) : { command: first, parts }
            const command = nameOf(chosen.command, id)
            const execute = Effect.suspend(() => {
              began(command)
              return repository.executeAll(
                id,
                chosen.parts.map((amounts) => ({ amounts })),
                withId ? { commandId: chosen.command } : {}
              )
            }).pipe(
              Effect.provideService(Event.IdGenerator, Effect.sync(() => `${command}#${++ids}`))
            )
            return { command, execute, id }
          }
          type Done = Effect.Effect.Success<ReturnType<typeof draw>["execute"]>
          const acknowledge = (
            id: string,
            command: string,
            { duplicate, events, version: to }: Done,
            counts: boolean
          ) => {
            acknowledged.push({ id, command, from: to - events.length + 1, to })
            known.set(id, Math.max(known.get(id) ?? 0, to))
            if (duplicate) count("repeats")
            if (events.length > 0 && counts && !duplicate) last.set(id, Math.max(last.get(id) ?? 0, to))
          }
          const check = (what: string, id: string, { state, version: at }: Pick<Done, "state" | "version">) =>
            Effect.tap(checkState(what, version, id, at, state), () => spoil(state))
          // a repeat has the version of its own events and the state of now, which counts its events itself
          const checkResult = (what: string, id: string, { duplicate, state, version }: Done) => {
            if (duplicate && state.count < version) wrong(`${what} of ${id} has ${state.count}, behind its ${version}`)
            return check(what, id, { state, version: duplicate ? state.count : version })
          }
          const loaded = (id: string, least: number, found: Library.Repository.Loaded<string, Ledger>) =>
            Effect.suspend(() => {
              trace.push(
                `${name} load ${id} ${found.version} by ${found.snapshotVersion} ${found.snapshotOutcome._tag}`
              )
              count(`snapshot ${found.snapshotOutcome._tag}`)
              if (found.version < least) wrong(`a load of ${id} gave ${found.version}, ${least} was acknowledged`)
              return check("a load", id, found)
            })

          const execute = Effect.suspend(() => {
            const { command, execute, id } = draw(own.oneOf(streams))
            const counted = acknowledged.some((each) => each.command === command && each.from <= each.to)
            return Effect.flatMap(
              attempt(`execute ${command} on ${id}`, process, execute, { id }),
              (exit) => {
                if (Exit.isSuccess(exit)) {
                  if (exit.value === undefined) return Effect.void
                  acknowledge(id, command, exit.value, true)
                  return checkResult("the result", id, exit.value)
                }
                const failure = Cause.failureOption(exit.cause)
                const sure = Option.isSome(failure) && !(
                  typeof failure.value === "object" && failure.value !== null &&
                  "mayHaveAppended" in failure.value &&
                  failure.value.mayHaveAppended
                )
                if (sure) refuse(command, String(failure.value))
                if (sure && counted && failure.value === "unlucky") {
                  wrong(`${command} had counted and was answered with a rejection`)
                }
                return Effect.void
              }
            )
          })

          // several commands and loads in a transaction of the caller's, which may be rolled back
          const transact = (client: SqlClient.SqlClient) =>
            Effect.suspend(() => {
              const drawn = Array.from({ length: own.between(1, 2) }, () => draw(own.oneOf(streams)))
              const rolledBack = own.chance(0.3)
              const waits = own.chance(0.3)
              const done: Array<readonly [id: string, command: string, done: Done]> = []
              const body = Effect.gen(function*() {
                for (const { command, execute, id } of drawn) {
                  const result = yield* execute
                  done.push([id, command, result])
                  yield* checkResult("the result in a transaction", id, result)
                  yield* loaded(id, result.version, yield* repository.load(id))
                }
                // nothing is waited for that needs this connection
                if (waits) yield* repository.awaitPendingSnapshots
                if (rolledBack) return yield* Effect.fail("rolled back")
                return "committed"
              })
              const names = drawn.map(({ command }) => command).join(" ")
              return Effect.map(
                attempt(
                  `transaction ${names}`,
                  process,
                  client.withTransaction(
                    Effect.timeoutFail(body, { duration: "3 seconds", onTimeout: () => "too slow" as const })
                  ),
                  { open: true }
                ),
                (exit) => {
                  if (Exit.isFailure(exit) || exit.value === undefined) {
                    for (const { id } of drawn) process.rolledBack.add(id)
                  }
                  if (Exit.isSuccess(exit)) {
                    if (exit.value === undefined) return
                    // a snapshot store without a part in the transaction is left alone until a worker comes
                    const counts = shared || process.settings.mode === "background"
                    for (const [id, command, result] of done) acknowledge(id, command, result, counts)
                  } else if (!Cause.isInterrupted(exit.cause)) {
                    for (const { command } of drawn) refuse(command, "rolled back")
                  }
                }
              )
            })

          for (let n = own.between(2, 5); n > 0; n--) {
            if (own.chance(0.7)) yield* Effect.sleep(own.oneOf([0, 1, 5, 20, 300]))
            const what = own.number(10)
            if (what < 2 && client !== undefined) yield* transact(client)
            else if (what < 6) yield* execute
            else if (what < 8) {
              const id = own.oneOf(streams)
              const least = known.get(id) ?? 0
              const exit = yield* attempt(`load ${id} by ${name}`, process, repository.load(id), { id })
              if (Exit.isSuccess(exit) && exit.value !== undefined) yield* loaded(id, least, exit.value)
            } else if (what === 8) {
              const id = own.oneOf(streams)
              const exit = yield* attempt(`createSnapshot ${id} by ${name}`, process, repository.createSnapshot(id), {
                id
              })
              if (Exit.isSuccess(exit) && exit.value !== undefined) {
                const { state, version } = exit.value.snapshot
                yield* check("a created snapshot", id, { state, version })
              }
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
        drainTimeout: calm ? "1 minutes" : own.oneOf(["1 millis", "1 seconds", "1 minutes"] as const),
        cache: own.chance(0.4)
          ? { capacity: own.between(1, streams.length), timeToLive: own.oneOf(["100 millis", "1 days"] as const) }
          : undefined,
        concurrentReplays: own.chance(0.2) ? own.between(1, 2) : undefined,
        maxReplay: own.chance(0.2) ? own.between(2, 12) : undefined,
        verify: own.chance(0.2),
        once: own.chance(0.2)
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
          cache: settings.cache,
          concurrentReplays: settings.concurrentReplays,
          maxReplay: settings.maxReplay,
          ...(settings.verify ? { verify: { sample: 0.5 } } : {}),
          ...(settings.once ? { retry: Schedule.recurs(1) } : {})
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
            const process: Process = {
              settings: chosen,
              killed: ending === "killed",
              hung: false,
              rolledBack: new Set()
            }
            const before = jumped
            let closing = 0
            let closed = 0
            const fiber = yield* Effect.fork(
              Effect.scoped(Effect.onExit(
                Effect.gen(function*() {
                  const repository = yield* make(version, own, chosen)
                  const seeds = Array.from({ length: own.between(1, 2) }, () => own.seed())
                  yield* Effect.forEach(
                    seeds,
                    (seed, index) => writer(`${name}${index}`, version, repository, seed, last, process),
                    {
                      concurrency: "unbounded",
                      discard: true
                    }
                  )
                  if (ending === "failure") yield* Effect.fail("planned")
                }),
                () => Effect.map(Clock.currentTimeMillis, (now) => closing = now)
              )).pipe(Effect.ensuring(Effect.map(Clock.currentTimeMillis, (now) => closed = now)))
            )
            if (ending === "killed") {
              yield* Effect.sleep(own.between(0, 400))
              yield* Fiber.interrupt(fiber)
            }
            const exit = yield* Fiber.await(fiber)
            const planned = Exit.isSuccess(exit) || Cause.failures(exit.cause).pipe(Chunk.contains("planned")) ||
              (ending === "killed" && Cause.isInterruptedOnly(exit.cause))
            if (!planned) wrong(`${name} ended with ${Cause.pretty(exit.cause)}`)
            trace.push(`${name} ended: ${ending}`)
            const took = closed - closing
            if (
              jumped === before && took > bounds[chosen.drainTimeout] + Math.min(bounds[chosen.drainTimeout], 1_000)
            ) wrong(`${name} took ${took} ms to close`)
            if (!calm || ending === "killed" || chosen.mode === "manual") continue
            // what was due when it closed is there
            for (const [id, to] of last) {
              if (process.rolledBack.has(id)) continue
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
          jumped++
          yield* world.jump(by)
        }
      })

      yield* Effect.all([
        jumps,
        ...Array.from({ length: dice.between(1, 3) }, (_, n) => process("pqr"[n], dice.seed()))
      ], { concurrency: "unbounded", discard: true })

      // what nobody waits for any more ends too, or never
      yield* Effect.sleep("10 minutes")

      // --- afterwards, without faults ----------------------------------------------------

      const stored = new Map<string, ReadonlyArray<Library.Event.RecordedEvent>>()
      const ids = new Set<string>()
      const written = new Map<string, number>()
      const owners = new Map<string, string>()
      for (const id of streams) {
        const recorded = Chunk.toReadonlyArray(yield* Effect.orDie(Stream.runCollect(raw.events.read(streamOf(id)))))
        stored.set(id, recorded)
        for (const [index, event] of recorded.entries()) {
          if (event.version !== index + 1) wrong(`${id} has version ${event.version} in place ${index + 1}`)
          if (ids.has(event.id)) wrong(`event ${event.id} stands twice`)
          ids.add(event.id)
          const { commandId } = event.metadata
          const command = typeof commandId === "string"
            ? nameOf(commandId, id)
            : event.id.slice(0, event.id.indexOf("#"))
          written.set(command, (written.get(command) ?? 0) + 1)
          owners.set(event.id, command)
          if (refused.has(command) && (tries.get(command) ?? 0) <= 0) {
            wrong(`${command} was reported as ${refused.get(command)} and stands in ${id}`)
          }
        }
      }
      for (const { command, from, id, to } of acknowledged) {
        const recorded = stored.get(id) ?? []
        if ((written.get(command) ?? 0) !== to - from + 1) {
          wrong(`${command} stands ${written.get(command)} times in ${id}`)
        }
        for (let version = from; version <= to; version++) {
          if (owners.get(recorded[version - 1]?.id) !== command) {
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
      return report()
    }
  }
}
