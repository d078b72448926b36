// Whole lives of read models: processes that start, share partitions, freeze, are killed and start again with other
// options, while events are appended, some of which cannot be handled, and an operator resumes, retries, drops, promotes
// and removes.
import { Cause, Clock, Effect, Exit, Fiber, Layer, Logger, LogLevel, Option, Schedule, Scope } from "effect"
import type * as Library from "../library.js"
import type { Report, Subject } from "../simulation.js"
import { Dice, type Outcome, run, runUnderTestClock } from "../virtual.js"
import { definitions, kinds, parts } from "./definitions.js"
import { checkpointsOf, eventsOf, freeze, kill, makeProcess, type Process } from "./faults.js"
import {
  check,
  checkQuiet,
  count,
  type Definition,
  droppedOf,
  follow,
  type Key,
  note,
  rowsOf,
  textOf,
  type Trouble,
  type World,
  write,
  wrong
} from "./world.js"

export const simulateReadModels = (subject: Subject, seed: number): Report => {
  const { judged, program, schedule } = prepare(subject, seed)
  // the names of owners are random
  const { randomUUID } = crypto
  let uuids = 0
  try {
    crypto.randomUUID = () => `00000000-0000-4000-8000-${String(++uuids).padStart(12, "0")}`
    return judged(run(schedule, () => program))
  } finally {
    crypto.randomUUID = randomUUID
  }
}

/** The same under Effect's own `TestClock` and scheduler, which takes real time. */
export const simulateReadModelsUnderTestClock = async (subject: Subject, seed: number): Promise<Report> => {
  const { judged, program, schedule } = prepare(subject, seed)
  return judged(await runUnderTestClock(schedule, () => program))
}

const prepare = (subject: Subject, seed: number) => {
  const dice = new Dice(seed)
  const trace: Array<string> = []
  const problems: Array<string> = []
  const counts: Record<string, number> = {}
  const program = Effect.gen(function*() {
    const world: World = {
      subject,
      dice,
      trace,
      problems,
      counts,
      events: yield* subject.EventStore.makeMemory,
      checkpoints: yield* subject.CheckpointStore.makeMemory,
      definitions: definitions(Array.from({ length: 3 }, () => dice.oneOf(["stop", "park", "parkStream"]))),
      feed: [],
      appended: { count: 0 },
      troubles: new Map(),
      tables: new Map(),
      deliveries: new Map(),
      dropped: new Map(),
      origins: new Map(),
      fails: new Map(),
      calm: false,
      repaired: false,
      faults: dice.oneOf([0, 0.02, 0.08])
    }
    yield* live(world)
    count(world, "runs")
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
  return {
    schedule: dice.seed(),
    program,
    judged: (outcome: Outcome<void>): Report => {
      if (outcome._tag === "Deadlock") problems.push("everything waits, and nothing will happen")
      else if (Exit.isFailure(outcome.exit)) problems.push(`the program died: ${Cause.pretty(outcome.exit.cause)}`)
      return { trace, problems, counts }
    }
  }
}

const live = (world: World) =>
  Effect.gen(function*() {
    const { dice } = world
    const shape: Shape = {
      names: dice.oneOf([["sums"], ["sums", "all"], ["sums", "mails"], ["mails"], ["all", "mails"]]),
      from: dice.oneOf(["start", "now"])
    }
    yield* append(world, dice.number(12))
    const writing = yield* Effect.fork(Effect.forever(writing1(world)))
    const operating = yield* Effect.fork(Effect.forever(operate(world, shape)))
    const processes = Array.from({ length: dice.between(1, 3) }, (_, n) => lives(world, shape, "pqr"[n]))
    yield* Effect.all(processes, { concurrency: "unbounded", discard: true })
    yield* Fiber.interrupt(writing)
    // an operation that waits for a frozen process ends
    yield* Effect.sleep("5 seconds")
    yield* Fiber.interrupt(operating)
    yield* end(world, shape)
  })

/** Without faults everything recovers: first with the events that cannot be handled, and then without. */
const end = (world: World, shape: Shape) =>
  Effect.gen(function*() {
    world.calm = true
    note(world, "calm")
    const scopes = yield* Effect.forEach(["x", "y"], (name) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* build(world, makeProcess(name), scope, { ...shape, isLast: true })
        return scope
      }))
    yield* Effect.sleep("15 seconds")
    yield* checkQuiet(world, true)
    world.repaired = true
    note(world, "repaired")
    const process = makeProcess("operator")
    for (let n = 0; n < 4 || (n < 20 && (yield* keys(world)).some(({ parked }) => parked > 0)); n++) {
      for (const key of yield* keys(world)) {
        yield* world.checkpoints.resume(key)
        yield* retry(world, process, key).pipe(
          Effect.provideService(world.subject.CheckpointStore.CheckpointStore, world.checkpoints),
          Effect.provideService(world.subject.EventStore.EventStore, world.events)
        )
        yield* drop(world, key, () => true)
      }
      yield* Effect.sleep("2 seconds")
    }
    yield* checkQuiet(world, false)
    for (const key of yield* keys(world)) {
      const left = yield* world.checkpoints.parked(key, { after: world.subject.Position.start, limit: 10 })
      if (left.length > 0) wrong(world, `${textOf(key)} still has parked events: ${left[0].reason}`)
    }
    for (const scope of scopes) yield* Scope.close(scope, Exit.void)
    for (const registered of yield* world.checkpoints.list) {
      if (registered.partitions.some(({ owner }) => Option.isSome(owner))) {
        wrong(world, `${textOf(registered)} was not given back`)
      }
    }
  }).pipe(Effect.orDie)

const keys = (world: World) => Effect.orDie(world.checkpoints.list)

// -------------------------------------------------------------------------------------
// events
// -------------------------------------------------------------------------------------

const writing1 = (world: World) =>
  Effect.gen(function*() {
    yield* Effect.sleep(world.dice.oneOf([1, 50, 300, 900]))
    yield* append(world, world.dice.between(1, 3))
  })

const append = (world: World, size: number) =>
  Effect.gen(function*() {
    const { dice, subject: { ExpectedVersion, StreamId } } = world
    const now = yield* Clock.currentTimeMillis
    for (let n = 0; n < size; n++) {
      const { aggregate, type } = dice.oneOf(kinds)
      const id = `e${++world.appended.count}`
      const trouble = drawTrouble(dice, now)
      if (trouble !== undefined) world.troubles.set(id, trouble)
      const payload = { _tag: type, n: trouble?.kind === "Unreadable" ? "x" : 1 }
      note(world, `append ${id} ${aggregate} ${type} ${trouble?.kind ?? ""}`)
      yield* Effect.orDie(world.events.append(
        StreamId.make(aggregate, dice.oneOf(["a", "b", "c"])),
        [{ id, type, payload }],
        { expectedVersion: ExpectedVersion.any }
      ))
    }
    yield* follow(world)
  })

const drawTrouble = (dice: Dice, now: number): Trouble | undefined => {
  if (!dice.chance(0.12)) return undefined
  const kind = dice.oneOf(["Broken", "Flaky", "Flaky", "Outage", "Outage", "Unreadable"] as const)
  const how = dice.oneOf(["fail", "fail", "die", "throw", "hang"] as const)
  return { kind, how, left: dice.between(1, 3), until: now + dice.between(100, 3_000) }
}

// -------------------------------------------------------------------------------------
// processes
// -------------------------------------------------------------------------------------

/** What a run is about. */
interface Shape {
  readonly names: ReadonlyArray<string>
  readonly from: "start" | "now"
  /** Whether this is the last process, which runs every version that is left. */
  readonly isLast?: boolean | undefined
}

const lives = (world: World, shape: Shape, name: string) =>
  Effect.gen(function*() {
    const { dice } = world
    for (let life = dice.between(1, 3); life > 0; life--) {
      yield* Effect.sleep(dice.between(0, 500))
      const process = makeProcess(`${name}${life}`)
      const scope = yield* Scope.make()
      const building = yield* Effect.forkDaemon(build(world, process, scope, shape))
      for (let n = dice.between(1, 3); n > 0; n--) {
        yield* Effect.sleep(dice.between(50, 1_500))
        if (dice.chance(0.4)) yield* freeze(world, process, dice.between(100, 3_000))
      }
      if (dice.chance(0.5)) kill(world, process)
      else {
        yield* Fiber.join(building)
        yield* Scope.close(scope, Exit.void)
        note(world, `${process.name} is closed`)
      }
    }
  })

/** Starts the layers of a process. */
const build = (world: World, process: Process, scope: Scope.Scope, shape: Shape) =>
  Effect.gen(function*() {
    const { dice, subject: { CheckpointStore, EventStore, Wakeup } } = world
    const events = eventsOf(world, process)
    const checkpoints = checkpointsOf(world, process)
    const wakeup = dice.oneOf([0, 1, 2])
    const registered = yield* keys(world)
    for (const { layer, name, version } of layers(world, process, shape)) {
      const isKnown = registered.some((one) => one.name === name && one.version === version)
      const isFirst = !registered.some((one) => one.name === name)
      if (shape.isLast === true ? !isKnown && !(isFirst && version === 1) : version > 1 && dice.chance(0.5)) continue
      note(world, `${process.name} starts ${name} ${version}`)
      const built = Layer.buildWithScope(layer, scope).pipe(
        Effect.provideService(EventStore.EventStore, events),
        Effect.provideService(CheckpointStore.CheckpointStore, checkpoints),
        Effect.provideService(Wakeup.Wakeup, {
          // hints get lost, or come twice
          subscribe: (_, ring) =>
            Effect.asVoid(Effect.acquireRelease(
              Effect.sync(() =>
                world.events.replay.onAppend(() => {
                  for (let n = dice.number(wakeup + 1); n > 0; n--) ring()
                })
              ),
              (end) => Effect.sync(end)
            ))
        }),
        Effect.retry({
          schedule: Schedule.spaced("50 millis"),
          while: (error) => error._tag === "CheckpointStoreError" || error._tag === "EventStoreError"
        })
      )
      const exit = yield* Effect.exit(built)
      if (Exit.isSuccess(exit)) continue
      const failure = Cause.failureOption(exit.cause)
      const isOlder = Option.isSome(failure) && failure.value._tag === "SubscriptionMismatch" &&
        failure.value.reason === "OlderVersion"
      if (isOlder) note(world, `${name} ${version} is older`)
      else wrong(world, `${process.name} did not start: ${Cause.pretty(exit.cause)}`)
    }
  })

const layers = (world: World, process: Process, shape: Shape) => {
  const { dice, subject: { Projection, Subscription } } = world
  const { all, mails, sums } = parts(world, process)
  const options = (name: string) => ({
    pageSize: dice.oneOf([1, 3, 8]),
    partitions: dice.oneOf([1, 2, 3]),
    lease: dice.oneOf(["1 second", "3 seconds"] as const),
    timeout: "4 seconds" as const,
    maxDelay: "2 seconds" as const,
    retry: Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(1)),
    poison: poisonOf(world, name, shape)
  })
  const versions = [1, 2].flatMap((version) => [
    { name: "sums", version, layer: Projection.layer(sums(version), options("sums")) },
    { name: "all", version, layer: Projection.layer(all(version), options("all")) }
  ])
  const subscription = Subscription.layer(mails(shape.from), {
    ...options("mails"),
    concurrency: dice.between(1, 3)
  })
  return [...versions, { name: "mails", version: 1, layer: subscription }]
    .filter(({ name }) => shape.names.includes(name))
}

/** An event that does not decode cannot be passed by a definition that stops: at the end such events are parked. */
const poisonOf = ({ definitions }: World, name: string, { isLast }: Shape): Definition["poison"] => {
  const { poison } = definitions.get(name)!
  return isLast === true && poison === "stop" ? "parkStream" : poison
}

// -------------------------------------------------------------------------------------
// the operator
// -------------------------------------------------------------------------------------

const operate = (world: World, shape: Shape) =>
  Effect.gen(function*() {
    const { dice, subject: { CheckpointStore, EventStore, Projections } } = world
    yield* Effect.sleep(dice.between(50, 1_500))
    const process = makeProcess("operator")
    const name = dice.oneOf(shape.names)
    const key = { name, version: name === "mails" ? 1 : dice.oneOf([1, 2]) }
    const operations: ReadonlyArray<
      Effect.Effect<unknown, unknown, Library.CheckpointStore.CheckpointStore | Library.EventStore.EventStore>
    > = [
      Projections.resume(key),
      retry(world, process, key),
      drop(world, key, () => dice.chance(0.3)),
      promote(world, key),
      // the store itself refuses, however little the caller waited
      Effect.flatMap(CheckpointStore.CheckpointStore, (store) => store.promote(key, swap(world, key))),
      Projections.remove(key),
      Projections.status(name),
      awaiting(world, name)
    ]
    const which = dice.number(operations.length)
    const exit = yield* operations[which].pipe(
      Effect.provideService(CheckpointStore.CheckpointStore, checkpointsOf(world, process)),
      Effect.provideService(EventStore.EventStore, eventsOf(world, process)),
      Effect.exit
    )
    const names = ["resume", "retry", "drop", "promote", "promote at once", "remove", "status", "await"]
    const result = Exit.isSuccess(exit)
      ? "ok"
      : Option.match(Cause.failureOption(exit.cause), {
        onNone: () => Cause.pretty(exit.cause),
        onSome: (error) => tagOf(error)
      })
    note(world, `${names[which]} ${textOf(key)}: ${result}`)
    count(world, `${names[which]} ${result}`)
    if (Exit.isFailure(exit) && !expected.includes(result)) wrong(world, `${names[which]} failed with ${result}`)
  })

const expected = [
  "CheckpointStoreError",
  "EventStoreError",
  "SubscriptionMismatch",
  "PromotionTimeout",
  "AwaitTimeout",
  "ProjectionStopped"
]

const tagOf = (error: unknown): string => String(Reflect.get(Object(error), "_tag"))

const retry = (world: World, process: Process, { name, version }: Key) => {
  const { Projections } = world.subject
  const { all, mails, sums } = parts(world, process)
  const retried = name === "sums"
    ? Projections.retryParked(sums(version))
    : name === "all"
    ? Projections.retryParked(all(version))
    : Projections.retryParked(mails("start"))
  return Effect.map(retried, ({ failed, handled }) => {
    if (failed.length > 0) count(world, "retried in vain")
    if (handled > 0) count(world, "retried")
  })
}

/** Gives up parked events: of some that cannot be handled, the first of their streams. */
const drop = (world: World, key: Key, isChosen: (event: Library.CheckpointStore.ParkedEvent) => boolean) =>
  Effect.gen(function*() {
    const { Position } = world.subject
    const parked = yield* world.checkpoints.parked(key, { after: Position.start, limit: 1_000 })
    const streams = new Set<string>()
    for (const event of parked) {
      const isFirst = !streams.has(event.stream)
      streams.add(event.stream)
      const fed = world.feed.find(({ position }) => position === event.position)!
      const isHopeless = !fed.isReadable || (!world.repaired && world.troubles.get(fed.id)?.kind === "Broken")
      if (!isFirst || !isHopeless || !isChosen(event)) continue
      const dropped = world.checkpoints.unpark(key, [event.position], write(() => {})).pipe(
        Effect.tap((done) =>
          Effect.sync(() => {
            if (Option.isSome(done)) droppedOf(world, key).add(event.position)
          })
        ),
        Effect.tap(() => check(world, key)),
        Effect.withMaxOpsBeforeYield(1_000_000)
      )
      if (Option.isSome(yield* dropped)) count(world, "dropped")
    }
  })

const promote = (world: World, key: Key) =>
  world.subject.Projections.promote(key, {
    timeout: world.dice.oneOf(["500 millis", "8 seconds"] as const),
    swap: swap(world, key)
  })

/** Readers see the same before and after, apart from what is set aside. */
const swap = (world: World, key: Key) =>
  Effect.gen(function*() {
    const active = (yield* keys(world)).find(({ active, name }) => active && name === key.name)
    if (active === undefined) return wrong(world, `no version of ${key.name} is active`)
    count(world, "swapped")
    const [before, after] = yield* Effect.forEach([active, key], (key) => contents(world, key))
    if (before !== after) wrong(world, `${textOf(key)} was promoted with ${after} beside ${before}`)
  })

const contents = (world: World, key: Key) =>
  Effect.map(
    Effect.orDie(world.checkpoints.parked(key, { after: world.subject.Position.start, limit: 1_000 })),
    (parked) => {
      const aside = new Set([...parked.map(({ position }) => position), ...droppedOf(world, key)])
      const all = [
        ...rowsOf(world.tables, key).map(({ id }) => id),
        ...world.feed.filter(({ position }) => aside.has(position)).map(({ id }) => id)
      ]
      // without what does not decode for both
      return all.sort((a, b) => Number(a.slice(1)) - Number(b.slice(1))).join(" ")
    }
  )

/** An append can be read as soon as the projection has reached its position. */
const awaiting = (world: World, name: string) =>
  Effect.gen(function*() {
    const { subject: { Position, Projections } } = world
    yield* append(world, 1)
    const { position } = world.feed.at(-1)!
    yield* Projections.awaitPosition(name, position, { timeout: "3 seconds" })
    const active = (yield* keys(world)).find((one) => one.active && one.name === name)
    const isReached = active?.partitions.every((partition) => Position.Order(partition.position, position) >= 0)
    if (isReached !== true) wrong(world, `${name} was awaited in vain`)
  })
