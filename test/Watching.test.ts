import { assert, describe, it } from "@effect/vitest"
import {
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Metric,
  MetricState,
  Schedule,
  Schema,
  Stream,
  TestClock,
  Tracer
} from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Metrics,
  Repository,
  SnapshotPolicy,
  SnapshotStore
} from "effect-eventsourcing"
import { tagsOf } from "../src/internal/schema/tags.js"
import { Account, deposit, id, open, stream } from "./fixtures/Account.js"
import { backends, on, sqliteFile, sqlStores } from "./utils/backends.js"
import { eventually, tracing, typedFailure } from "./utils/observe.js"

const each = on(backends)

type Store = EventStore.EventStore["Type"]
type Accounts = Repository.Repository<typeof Account>

const withdraw = (amount: number) => ({ _tag: "Withdraw", amount }) as const

/** A store in which `races` of the next appends lose against another writer. Each loses or wins as `before` ends. */
const racing = (store: Store) => {
  const state = { races: 0, before: Effect.void as Effect.Effect<void, EventStore.EventStoreError> }
  let rivals = 0
  const rival = Effect.suspend(() =>
    store.append(stream("a"), [{
      id: `rival-${++rivals}`,
      type: "Deposited",
      payload: { _tag: "Deposited", amount: 1 }
    }], { expectedVersion: ExpectedVersion.any })
  )
  const append: Store["append"] = (stream, events, options) =>
    state.before.pipe(
      Effect.zipRight(Effect.suspend(() => state.races-- > 0 ? rival : Effect.void)),
      Effect.zipRight(store.append(stream, events, options))
    )
  return { state, store: EventStore.EventStore.of({ ...store, append }) }
}

interface Measure {
  readonly count: number
  readonly sum: number
}

/** The metrics of commands by name and tags: a counter's count, or the count and the sum of a histogram. */
const measured = Effect.map(
  Metric.snapshot,
  (pairs) =>
    new Map(pairs.flatMap(({ metricKey: { name, tags }, metricState }): ReadonlyArray<readonly [string, Measure]> => {
      const short = name.replace("effect_eventsourcing_", "")
      if (!/^(command|append_duration|load_duration)/.test(short)) return []
      const key = [short, ...tags.map(({ key, value }) => `${key}=${value}`)].join(" ")
      if (MetricState.isHistogramState(metricState)) {
        const { count, sum } = metricState
        return [[key, { count, sum }]]
      }
      if (MetricState.isCounterState(metricState)) return [[key, { count: Number(metricState.count), sum: 0 }]]
      return assert.fail(`${name} is another kind of metric`)
    }))
)

/** What an effect adds to the metrics of commands. */
const added = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const before = yield* measured
    yield* effect
    const after = yield* measured
    const difference = Array.from(after, ([key, { count, sum }]) => {
      const { count: counted, sum: summed } = before.get(key) ?? { count: 0, sum: 0 }
      // the sums of other tests are fractions
      return [key, { count: count - counted, sum: Math.round((sum - summed) * 1e6) / 1e6 }] as const
    })
    return new Map(difference.filter(([, { count }]) => count !== 0))
  })

const counts = (difference: Effect.Effect.Success<ReturnType<typeof added>>): Readonly<Record<string, number>> =>
  Object.fromEntries(Array.from(difference, ([key, { count }]) => [key, count]))

const watched = (options: Repository.Options = {}) =>
  Effect.gen(function*() {
    const { state, store } = racing(yield* EventStore.EventStore)
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, ...options }).pipe(
      Effect.provideService(EventStore.EventStore, store),
      Effect.provideService(Metrics.CommandMetrics, true)
    )
    yield* accounts.executeAll(id("a"), [open, deposit(5)])
    return { accounts, state }
  })

const commandSpan = (spans: ReadonlyArray<Tracer.Span>): Readonly<Record<string, unknown>> => {
  const found = spans.filter(({ name }) => name === "Repository.execute")
  assert.strictEqual(found.length, 1)
  return Object.fromEntries(found[0].attributes)
}

interface Case {
  readonly name: string
  readonly run: (
    accounts: Accounts,
    state: ReturnType<typeof racing>["state"]
  ) => Effect.Effect<unknown, unknown>
  /** The attributes of the span beside those of every command. */
  readonly span: Readonly<Record<string, unknown>>
  /** The counts beside those of a load. */
  readonly counts: Readonly<Record<string, number>>
}

const of = (command: string, outcome: string) => `commands aggregate=Account command=${command} outcome=${outcome}`
const attempts = "command_attempts aggregate=Account"
const appends = "append_duration aggregate=Account"
const conflicts = "command_conflicts aggregate=Account"

const storeDown = new EventStore.EventStoreError({
  operation: "append",
  reason: "Unavailable",
  mayHaveAppended: false,
  detail: "planned"
})

const cases: ReadonlyArray<Case> = [
  {
    name: "appends its events",
    run: (accounts) => accounts.execute(id("a"), deposit(1, 3)),
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Committed",
      "eventsourcing.attempts": 1,
      "eventsourcing.events": 3,
      "eventsourcing.version": 5,
      "eventsourcing.duplicate": false
    },
    counts: { [of("Deposit", "Committed")]: 1, [attempts]: 1, [appends]: 1 }
  },
  {
    name: "is one of several",
    run: (accounts) => accounts.executeAll(id("a"), [deposit(1), withdraw(1), deposit(1)]),
    span: {
      "eventsourcing.command": "Deposit, Withdraw",
      "eventsourcing.outcome": "Committed",
      "eventsourcing.attempts": 1,
      "eventsourcing.events": 3,
      "eventsourcing.version": 5,
      "eventsourcing.duplicate": false
    },
    counts: { [of("Deposit", "Committed")]: 2, [of("Withdraw", "Committed")]: 1, [attempts]: 1, [appends]: 1 }
  },
  {
    name: "decides no events",
    run: (accounts) => accounts.execute(id("a"), open),
    span: {
      "eventsourcing.command": "Open",
      "eventsourcing.outcome": "Empty",
      "eventsourcing.attempts": 1,
      "eventsourcing.events": 0,
      "eventsourcing.version": 2,
      "eventsourcing.duplicate": false
    },
    counts: { [of("Open", "Empty")]: 1, [attempts]: 1 }
  },
  {
    name: "is rejected",
    run: (accounts) => accounts.execute(id("a"), withdraw(1_000)),
    span: {
      "eventsourcing.command": "Withdraw",
      "eventsourcing.outcome": "Rejected",
      "eventsourcing.attempts": 1,
      "error.type": "InsufficientFunds"
    },
    counts: { [of("Withdraw", "Rejected")]: 1, [attempts]: 1 }
  },
  {
    name: "loses a race and is decided again",
    run: (accounts, state) => {
      state.races = 2
      return accounts.execute(id("a"), deposit(1))
    },
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Committed",
      "eventsourcing.attempts": 3,
      "eventsourcing.events": 1,
      "eventsourcing.version": 5,
      "eventsourcing.duplicate": false
    },
    counts: { [of("Deposit", "Committed")]: 1, [attempts]: 1, [appends]: 3, [conflicts]: 2 }
  },
  {
    name: "loses every race",
    run: (accounts, state) => {
      state.races = Infinity
      return accounts.execute(id("a"), deposit(1))
    },
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Conflict",
      "eventsourcing.attempts": 4,
      "error.type": "VersionConflict"
    },
    counts: { [of("Deposit", "Conflict")]: 1, [attempts]: 1, [appends]: 4, [conflicts]: 4 }
  },
  {
    name: "is refused because of its expected version",
    run: (accounts) => accounts.execute(id("a"), deposit(1), { expectedVersion: ExpectedVersion.exact(7) }),
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Conflict",
      "eventsourcing.attempts": 1,
      "error.type": "VersionConflict"
    },
    counts: { [of("Deposit", "Conflict")]: 1, [attempts]: 1 }
  },
  {
    name: "fails",
    run: (accounts, state) => {
      state.before = storeDown
      return accounts.execute(id("a"), deposit(1))
    },
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Failed",
      "eventsourcing.attempts": 1,
      "error.type": "EventStoreError"
    },
    counts: { [of("Deposit", "Failed")]: 1, [attempts]: 1, [appends]: 1 }
  },
  {
    name: "dies",
    run: (accounts, state) => {
      state.before = Effect.dieMessage("planned")
      return accounts.execute(id("a"), deposit(1))
    },
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Failed",
      "eventsourcing.attempts": 1,
      "error.type": "RuntimeException"
    },
    counts: { [of("Deposit", "Failed")]: 1, [attempts]: 1, [appends]: 1 }
  },
  {
    name: "is interrupted",
    run: (accounts, state) =>
      Effect.gen(function*() {
        let waits = false
        state.before = Effect.zipRight(Effect.sync(() => void (waits = true)), Effect.never)
        const fiber = yield* Effect.fork(accounts.execute(id("a"), deposit(1)))
        yield* eventually(Effect.sync(() => waits))
        yield* Fiber.interrupt(fiber)
      }),
    span: {
      "eventsourcing.command": "Deposit",
      "eventsourcing.outcome": "Interrupted",
      "eventsourcing.attempts": 1,
      "error.type": "InterruptedException"
    },
    counts: { [of("Deposit", "Interrupted")]: 1, [attempts]: 1, [appends]: 1 }
  }
]

describe("a command that", () => {
  for (const { counts: expected, name, run, span } of cases) {
    each(`${name}: its span and its metrics`, () =>
      Effect.gen(function*() {
        const { accounts, state } = yield* watched({ retry: Schedule.recurs(3) })
        const { spans, traced } = yield* tracing
        const difference = yield* added(Effect.exit(traced(run(accounts, state))))
        const { "eventsourcing.snapshot": snapshot, ...attributes } = commandSpan(spans)
        assert.deepStrictEqual(attributes, {
          "eventsourcing.aggregate": "Account",
          "eventsourcing.id": "a",
          "eventsourcing.snapshot_version": 0,
          "eventsourcing.replayed": 2,
          ...span
        })
        assert.strictEqual(snapshot, "None")
        assert.deepStrictEqual(counts(difference), { ...expected, "load_duration aggregate=Account": 1 })
        // the histogram has the number of the attempts of the span
        assert.strictEqual(difference.get(attempts)?.sum, attributes["eventsourcing.attempts"])
      }))
  }

  each("is repeated: its span and its metrics are those of a duplicate", () =>
    Effect.gen(function*() {
      const { accounts } = yield* watched()
      yield* accounts.execute(id("a"), withdraw(4), { commandId: "c-1" })
      const { spans, traced } = yield* tracing
      const difference = yield* added(traced(accounts.execute(id("a"), withdraw(4), { commandId: "c-1" })))
      assert.deepInclude(commandSpan(spans), {
        "eventsourcing.command": "Withdraw",
        "eventsourcing.outcome": "Duplicate",
        "eventsourcing.attempts": 1,
        "eventsourcing.events": 1,
        "eventsourcing.version": 3,
        "eventsourcing.duplicate": true
      })
      assert.deepStrictEqual(counts(difference), {
        [of("Withdraw", "Duplicate")]: 1,
        [attempts]: 1,
        "load_duration aggregate=Account": 1
      })
    }))

  each("cannot load has the id in its span, and was not tried", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.none }).pipe(
        Effect.provideService(EventStore.EventStore, {
          ...store,
          replay: { ...store.replay, readTail: () => storeDown }
        }),
        Effect.provideService(Metrics.CommandMetrics, true)
      )
      const { spans, traced } = yield* tracing
      const difference = yield* added(Effect.exit(traced(accounts.execute(id("a"), open))))
      assert.deepStrictEqual(commandSpan(spans), {
        "eventsourcing.aggregate": "Account",
        "eventsourcing.id": "a",
        "eventsourcing.command": "Open",
        "eventsourcing.outcome": "Failed",
        "eventsourcing.attempts": 0,
        "error.type": "EventStoreError"
      })
      assert.deepStrictEqual(counts(difference), { [of("Open", "Failed")]: 1, "load_duration aggregate=Account": 1 })
    }))
})

/** A tracer that throws at one point of the spans of one name, and counts how often it did. */
const throwing = (native: Tracer.Tracer, of: string, point: string) => {
  const state = { thrown: 0 }
  const fail = (): never => {
    state.thrown++
    throw new Error("planned")
  }
  const tracer = Tracer.make({
    span: (...args) => {
      if (args[0] !== of) return native.span(...args)
      if (point === "begin") return fail()
      const span = native.span(...args)
      return Object.create(span, {
        attribute: {
          value: (key: string, value: unknown) => key === point ? fail() : span.attribute(key, value)
        },
        end: { value: (...end: Parameters<Tracer.Span["end"]>) => point === "end" ? fail() : span.end(...end) },
        ...(point === "spanId" ? { spanId: { get: fail } } : {})
      })
    },
    context: native.context
  })
  return { state, tracer }
}

describe("a command does not fail if the tracer throws", () => {
  const points: ReadonlyArray<readonly [span: string, points: ReadonlyArray<string>]> = [
    ["Repository.execute", [
      "begin",
      "end",
      "spanId",
      "eventsourcing.aggregate",
      "eventsourcing.replayed",
      "eventsourcing.outcome"
    ]],
    ["EventStore.load", ["begin", "end", "db.query.text", "eventsourcing.events"]],
    ["EventStore.append", ["begin", "end", "db.query.text", "eventsourcing.version"]],
    ["SnapshotStore.save", ["begin", "end", "eventsourcing.outcome"]]
  ]
  for (const mode of ["sync", "inline"] as const) {
    it.scoped(`at any point of any span, in mode ${mode}`, () =>
      Effect.gen(function*() {
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 1 }) })
        const native = yield* Effect.tracer
        for (const [span, places] of points) {
          for (const place of places) {
            const name = `${span} ${place}`
            const { state, tracer } = throwing(native, span, place)
            const done = yield* Effect.withTracer(accounts.execute(id(name), open), tracer)
            assert.deepStrictEqual([name, done.version, state.thrown], [name, 1, 1])
            assert.deepInclude(yield* accounts.load(id(name)), { version: 1, snapshotVersion: 1 })
          }
        }
      }).pipe(Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
  }

  each("and one that makes no span gets no attributes into that of the caller", () =>
    Effect.gen(function*() {
      const { accounts } = yield* watched()
      const { spans, traced } = yield* tracing
      const broken = Effect.flatMap(Effect.tracer, (tracer) => {
        const { tracer: throws } = throwing(tracer, "Repository.execute", "begin")
        return Effect.withTracer(accounts.execute(id("a"), deposit(1)), throws)
      })
      const { recorded: [{ metadata }] } = yield* traced(Effect.withSpan(broken, "request"))
      assert.deepStrictEqual(metadata, {})
      assert.deepStrictEqual(spans.map(({ attributes, name }) => [name, attributes.size]), [["request", 0]])
    }))
})

each("a rejection that looks like a conflict of the library is a rejection", () =>
  Effect.gen(function*() {
    const conflict = new EventStore.VersionConflict({
      stream: stream("a"),
      expected: ExpectedVersion.any,
      actual: 7,
      attempts: 1
    })
    const refusing = Aggregate.make({
      name: "Refusing",
      id: Schema.String,
      state: Schema.Null,
      event: Schema.TaggedStruct("Done", {}),
      command: Schema.TaggedStruct("Do", {}),
      initial: () => null,
      evolve: (state) => state,
      decide: () => Either.left(conflict)
    })
    const repository = yield* Repository.make(refusing)
    const { spans, traced } = yield* tracing
    const exit = yield* Effect.exit(traced(repository.execute("a", { _tag: "Do" })))
    assert.deepInclude(typedFailure(exit), { _tag: "VersionConflict", actual: 7 })
    assert.deepInclude(commandSpan(spans), { "eventsourcing.outcome": "Rejected", "error.type": "VersionConflict" })
  }))

describe("the name of a command", () => {
  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  }
  // as a program without types may give them
  const hostile: ReadonlyArray<unknown> = [
    ...[null, undefined, 7, "Deposit", {}, [], { _tag: 7 }, { _tag: "" }, { _tag: "__proto__" }, {
      _tag: "constructor"
    }],
    ...[{ _tag: "x".repeat(1_000_000) }, { _tag: "Open\u0000" }, { _tag: "open" }, revoked()],
    {
      get _tag() {
        throw new Error("unreadable")
      }
    }
  ]

  each("is one that the schema declares: no other tag makes a metric", () =>
    Effect.gen(function*() {
      const { accounts } = yield* watched()
      const untyped = accounts.execute as (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, unknown>
      const { spans, traced } = yield* tracing
      const difference = yield* added(
        Effect.forEach(hostile, (command) => Effect.exit(traced(untyped(id("a"), command))))
      )
      assert.strictEqual(counts(difference)[of("unknown", "Failed")], hostile.length)
      assert.deepStrictEqual(Object.keys(counts(difference)).filter((key) => key.startsWith("commands")), [
        of("unknown", "Failed")
      ])
      const named = spans.filter(({ name }) => name === "Repository.execute").map(({ attributes }) =>
        attributes.get("eventsourcing.command")
      )
      assert.deepStrictEqual(named, hostile.map(() => "unknown"))
    }))

  each("is absent where there is no array of commands, or none in it", () =>
    Effect.gen(function*() {
      const { accounts } = yield* watched()
      const untyped = accounts.executeAll as (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, unknown>
      for (const commands of [[], null, 7, revoked(), { length: 1 }]) {
        const { spans, traced } = yield* tracing
        const difference = yield* added(Effect.exit(traced(untyped(id("a"), commands))))
        assert.notProperty(commandSpan(spans), "eventsourcing.command")
        assert.deepStrictEqual(Object.keys(counts(difference)).filter((key) => key.startsWith("commands")), [])
      }
    }))

  it("is found in unions, classes, refinements, transformations and suspended schemas", () => {
    class A extends Schema.TaggedClass<A>()("A", {}) {}
    class B extends Schema.TaggedRequest<B>()("B", { failure: Schema.Never, success: Schema.Void, payload: {} }) {}
    const C = Schema.Struct({ _tag: Schema.Literal("C1", "C2") })
    interface Chain {
      readonly _tag: "Chain"
      readonly next: Chain | null
    }
    const Chain: Schema.Schema<Chain> = Schema.Struct({
      _tag: Schema.Literal("Chain"),
      next: Schema.NullOr(Schema.suspend(() => Chain))
    })
    const D = Schema.TaggedStruct("D", { at: Schema.Date })
    const all = Schema.Union(A, Schema.Union(B, C), Chain, D).pipe(Schema.filter(() => true))
    assert.deepStrictEqual([...tagsOf(all)].sort(), ["A", "B", "C1", "C2", "Chain", "D"])
    assert.deepStrictEqual([...tagsOf(Schema.typeSchema(all))].sort(), ["A", "B", "C1", "C2", "Chain", "D"])
    for (const without of [Schema.String, Schema.Struct({}), Schema.Struct({ _tag: Schema.String })]) {
      assert.deepStrictEqual([...tagsOf(without)], [])
    }
    const itself: Schema.Schema<unknown> = Schema.Union(Schema.suspend(() => itself), A, D)
    // a repository asks the schema of the type, whose suspended parts are new at each turn
    for (const schema of [itself, Schema.typeSchema(itself)]) assert.deepStrictEqual([...tagsOf(schema)], ["A", "D"])
    enum Kind {
      E1 = "E1",
      E2 = "E2",
      E3 = 3
    }
    const tagged = (tag: Schema.Schema.Any) => Schema.Struct({ _tag: tag })
    const written: ReadonlyArray<readonly [tag: Schema.Schema.Any, tags: ReadonlyArray<string>]> = [
      [Schema.Enums(Kind), ["E1", "E2"]],
      [Schema.Literal("A").pipe(Schema.brand("Tag")), ["A"]],
      [Schema.transformLiteral("a", "A"), ["A"]],
      [Schema.suspend(() => Schema.Literal("A", 7, null)), ["A"]]
    ]
    for (const [tag, tags] of written) assert.deepStrictEqual([...tagsOf(tagged(tag))], tags)
    const inside = Schema.TaggedStruct("Inside", {})
    assert.deepStrictEqual([...tagsOf(Schema.Data(inside))], ["Inside"])
    // the command would be the container, whose own tag is another one
    for (const container of [Schema.OptionFromSelf(inside), Schema.Redacted(inside), Schema.ChunkFromSelf(inside)]) {
      assert.deepStrictEqual([...tagsOf(container)], [])
    }
    const broken = Schema.suspend((): Schema.Schema<unknown> => {
      throw new Error("planned")
    })
    assert.deepStrictEqual([...tagsOf(broken)], [])
  })
})

describe("the metrics of commands", () => {
  const work = (accounts: Accounts) =>
    Effect.all([accounts.execute(id("a"), open), accounts.execute(id("a"), deposit(1)), accounts.load(id("a"))])

  each("are off by default", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      assert.deepStrictEqual(counts(yield* added(work(accounts))), {})
    }))

  class Bank extends Effect.Tag("test/Bank")<Bank, Accounts>() {}
  const live = Repository.layer(Bank, Account)
  const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
  const program = Effect.flatMap(Bank, work)
  const expected = {
    [of("Open", "Committed")]: 1,
    [of("Deposit", "Committed")]: 1,
    [attempts]: 2,
    [appends]: 2,
    "load_duration aggregate=Account": 3
  }

  it.effect("are on if the layer is provided to the repository, or to the program that builds it", () =>
    Effect.gen(function*() {
      const provided = Effect.provide(program, Layer.provide(live, [stores, Metrics.layerCommandMetrics]))
      assert.deepStrictEqual(counts(yield* added(provided)), expected)
      const around = program.pipe(
        Effect.provide(Layer.provide(live, stores)),
        Effect.provide(Metrics.layerCommandMetrics)
      )
      assert.deepStrictEqual(counts(yield* added(around)), expected)
    }))

  it.effect("are read as the docstrings say", () =>
    Effect.gen(function*() {
      const committed = Metrics.commands.pipe(
        Metric.tagged("aggregate", "Account"),
        Metric.tagged("command", "Open"),
        Metric.tagged("outcome", "Committed")
      )
      const before = yield* Metric.value(committed)
      const counted = Effect.forEach(
        [Metrics.commandAttempts, Metrics.appendDuration, Metrics.loadDuration],
        (metric) => Effect.map(Metric.value(Metric.tagged(metric, "aggregate", "Account")), ({ count }) => count)
      )
      const [attemptsBefore, appendsBefore, loadsBefore] = yield* counted
      yield* Effect.provide(program, Layer.provide(live, [stores, Metrics.layerCommandMetrics]))
      assert.strictEqual((yield* Metric.value(committed)).count, before.count + 1)
      assert.deepStrictEqual(yield* counted, [attemptsBefore + 2, appendsBefore + 2, loadsBefore + 3])
    }))

  each("durations are those of the clock, in milliseconds", () =>
    Effect.gen(function*() {
      const { accounts, state } = yield* watched()
      state.before = Effect.sleep("20 millis")
      const difference = yield* added(Effect.gen(function*() {
        const fiber = yield* Effect.fork(accounts.execute(id("a"), deposit(1)))
        yield* eventually(Effect.map(TestClock.sleeps(), (sleeps) => [...sleeps].length > 0))
        yield* TestClock.adjust("20 millis")
        yield* Fiber.join(fiber)
      }))
      assert.deepStrictEqual(difference.get(appends), { count: 1, sum: 20 })
      assert.deepStrictEqual(difference.get("load_duration aggregate=Account"), { count: 1, sum: 0 })
    }))

  it.scoped("inline: the append is measured without the save of its transaction", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) }).pipe(
        Effect.provideService(Metrics.CommandMetrics, true)
      )
      const difference = yield* added(accounts.execute(id("a"), open))
      assert.deepStrictEqual(counts(difference), {
        [of("Open", "Committed")]: 1,
        [attempts]: 1,
        [appends]: 1,
        "load_duration aggregate=Account": 1
      })
    }).pipe(Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
})

describe("spans of the other operations", () => {
  each("have the aggregate and the id", () =>
    Effect.gen(function*() {
      const { accounts } = yield* watched()
      const { spans, traced } = yield* tracing
      yield* traced(Effect.all([
        accounts.load(id("a")),
        accounts.loadAt(id("a"), 1),
        accounts.createSnapshot(id("a")),
        accounts.verify(id("a"))
      ]))
      const own = spans.filter(({ name }) => name.startsWith("Repository."))
      assert.deepStrictEqual(own.map(({ name }) => name), [
        "Repository.load",
        "Repository.loadAt",
        "Repository.createSnapshot",
        "Repository.verify"
      ])
      for (const { attributes } of own) {
        assert.deepInclude(Object.fromEntries(attributes), {
          "eventsourcing.aggregate": "Account",
          "eventsourcing.id": "a"
        })
      }
    }))

  each("have no id that a store could not keep", () =>
    Effect.gen(function*() {
      const { accounts } = yield* watched()
      for (const text of ["x".repeat(2_000), "a\u0000b"]) {
        const { spans, traced } = yield* tracing
        const exit = yield* Effect.exit(traced(accounts.load(id(text))))
        assert.isTrue(Exit.isFailure(exit))
        assert.strictEqual(spans[0].attributes.get("eventsourcing.aggregate"), "Account")
        assert.isFalse(spans[0].attributes.has("eventsourcing.id"))
      }
    }))

  it.scoped("a history is read in spans of the store", () =>
    Effect.gen(function*() {
      const accounts = yield* Repository.make(Account)
      yield* accounts.executeAll(id("a"), [open, deposit(1), deposit(2)])
      const { spans, traced } = yield* tracing
      yield* traced(Stream.runDrain(accounts.history(id("a"))))
      assert.deepStrictEqual(spans.map(({ kind, name }) => [name, kind]), [["EventStore.read", "client"]])
      assert.deepInclude(Object.fromEntries(spans[0].attributes), {
        "db.operation.name": "SELECT",
        "eventsourcing.id": "a",
        "eventsourcing.events": 3
      })
    }).pipe(Effect.provide(Layer.provide(sqlStores, sqliteFile(":memory:")))))
})
