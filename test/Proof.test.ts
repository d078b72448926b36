import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, DateTime, Effect, Either, Layer, Schedule, Schema, Stream } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Metrics,
  Repository,
  Snapshot,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import {
  Account,
  AccountCommand,
  AccountEvent,
  AccountId,
  AccountState,
  AccountV2,
  deposit,
  id,
  open
} from "./fixtures/Account.js"
import { each, postgresTemporaryDatabase, sqliteFile, sqlStores, type Stores } from "./utils/backends.js"
import { counted, lines, tracing } from "./utils/observe.js"

const stream = StreamId.make("Account", "a")

const sync = SnapshotPolicy.sync({ every: 5 })

/** The same aggregate with another state: what a team does without raising the version. */
const Grown = <I>(
  state: Schema.Schema<{ readonly limit: number; readonly open: boolean; readonly balance: number }, I>
) =>
  Aggregate.make({
    name: "Account",
    id: AccountId,
    state,
    event: AccountEvent,
    command: AccountCommand,
    initial: () => ({ ...Account.initial(id("a")), limit: 0 }),
    evolve: (state, event) => ({ ...state, ...Account.evolve(state, event) }),
    decide: Account.decide
  })

const WithDefault = Grown(
  Schema.Struct({ ...AccountState.fields, limit: Schema.optionalWith(Schema.Int, { default: () => 0 }) })
)

const row = Effect.flatMap(SnapshotStore.SnapshotStore, (store) => store.get(stream, { schemaVersion: 1 }))

describe("a forgotten version", () => {
  each("is detected, the stream is replayed, and the snapshot is replaced", () =>
    Effect.gen(function*() {
      yield* (yield* Repository.make(Account, { snapshots: sync })).executeAll(id("a"), [open, deposit(1, 6)])
      const grown = yield* Repository.make(WithDefault, { snapshots: sync })
      const loaded = yield* grown.load(id("a"))
      assert.deepInclude(loaded, { snapshotVersion: 0, replayed: 7, state: { open: true, balance: 6, limit: 0 } })
      assert.instanceOf(loaded.snapshotOutcome, Snapshot.SchemaDrift)
      assert.deepInclude(loaded.snapshotOutcome, { found: Account.fingerprint, expected: WithDefault.fingerprint })
      assert.deepInclude(yield* grown.load(id("a")), { snapshotVersion: 7, snapshotOutcome: { _tag: "Hit" } })
    }))

  each(
    "onDrift: decode uses a state that decodes, reports it, and replaces it when a snapshot is due",
    () =>
      Effect.gen(function*() {
        yield* (yield* Repository.make(Account, { snapshots: sync })).executeAll(id("a"), [open, deposit(1, 6)])
        const grown = yield* Repository.make(WithDefault, { snapshots: sync, onDrift: "decode" })
        const loaded = yield* grown.load(id("a"))
        assert.deepInclude(loaded, { snapshotVersion: 7, replayed: 0, state: { open: true, balance: 6, limit: 0 } })
        assert.deepStrictEqual(loaded.snapshotOutcome, { _tag: "Drifted", fingerprint: Account.fingerprint })
        yield* grown.execute(id("a"), deposit(1, 4))
        assert.deepInclude(yield* grown.load(id("a")), { replayed: 4, snapshotOutcome: loaded.snapshotOutcome })
        yield* grown.execute(id("a"), deposit(1))
        assert.deepInclude(yield* grown.load(id("a")), { snapshotVersion: 12, snapshotOutcome: { _tag: "Hit" } })
      })
  )

  each("onDrift: decode replays if the state does not decode, and replaces the snapshot", () =>
    Effect.gen(function*() {
      yield* (yield* Repository.make(Account, { snapshots: sync })).executeAll(id("a"), [open, deposit(1, 6)])
      const Changed = Grown(Schema.Struct({ ...AccountState.fields, limit: Schema.Int }))
      const changed = yield* Repository.make(Changed, { snapshots: sync, onDrift: "decode" })
      const loaded = yield* changed.load(id("a"))
      assert.deepInclude(loaded, { snapshotVersion: 0, replayed: 7 })
      assert.strictEqual(loaded.snapshotOutcome._tag, "StateDecodeError")
      assert.deepInclude(yield* changed.load(id("a")), { snapshotVersion: 7, snapshotOutcome: { _tag: "Hit" } })
    }))

  each("a refuted snapshot is replaced, and the row of another schema version stays", () =>
    Effect.gen(function*() {
      const store = yield* SnapshotStore.SnapshotStore
      yield* (yield* Repository.make(Account, { snapshots: sync })).executeAll(id("a"), [open, deposit(1, 6)])
      const found = yield* Effect.flatten(row)
      yield* (yield* Repository.make(AccountV2, { snapshots: SnapshotPolicy.manual })).createSnapshot(id("a"))
      yield* store.delete(stream, { schemaVersion: 1 })
      yield* store.save({ ...found, state: "{" })
      const accounts = yield* Repository.make(Account, { snapshots: sync })
      assert.strictEqual((yield* accounts.load(id("a"))).snapshotOutcome._tag, "StateDecodeError")
      assert.strictEqual((yield* accounts.load(id("a"))).snapshotOutcome._tag, "Hit")
      assert.isTrue(yield* store.exists(stream, { schemaVersion: 2 }))
    }))

  each("onDrift: decode does not accept another history", () =>
    Effect.gen(function*() {
      yield* (yield* Repository.make(Account, { snapshots: sync })).executeAll(id("a"), [open, deposit(1, 6)])
      const store = yield* SnapshotStore.SnapshotStore
      const found = yield* Effect.flatten(row)
      yield* store.delete(stream)
      yield* store.save({ ...found, eventId: "another" })
      const grown = yield* Repository.make(WithDefault, { snapshots: sync, onDrift: "decode" })
      assert.strictEqual((yield* grown.load(id("a"))).snapshotOutcome._tag, "HistoryMismatch")
    }))
})

describe("a stream with another history than its snapshot", () => {
  // whatever a restore, a truncation or a fork leaves: a new stream under the old snapshots
  const histories: Record<string, ReadonlyArray<{ readonly id: string; readonly amount: number }>> = {
    "deleted": [],
    "restored from an older copy": Array.from({ length: 5 }, (_, n) => ({ id: `same-${n}`, amount: 1 })),
    "restored, and gone on with since": Array.from({ length: 12 }, (_, n) => ({
      id: n < 5 ? `same-${n}` : `new-${n}`,
      amount: 7
    })),
    "forked at the last event": Array.from({ length: 9 }, (_, n) => ({ id: n < 8 ? `same-${n}` : "fork", amount: 1 })),
    "shorter by one": Array.from({ length: 8 }, (_, n) => ({ id: `same-${n}`, amount: 1 }))
  }
  for (const [name, events] of Object.entries(histories)) {
    for (const mode of ["sync", "background"] as const) {
      each(`${name}: the stream is replayed, and the snapshot is replaced (${mode})`, () =>
        Effect.gen(function*() {
          const snapshots = yield* SnapshotStore.SnapshotStore
          const store = yield* EventStore.EventStore
          const append = (to: EventStore.EventStore["Type"], all: typeof events) =>
            to.append(
              stream,
              all.map(({ amount, id }) => ({ id, type: "Deposited", payload: { _tag: "Deposited", amount } })),
              { expectedVersion: ExpectedVersion.noStream }
            )
          // the snapshot is of a stream that lives elsewhere
          const elsewhere = yield* EventStore.makeMemory
          yield* append(elsewhere, Array.from({ length: 9 }, (_, n) => ({ id: `same-${n}`, amount: 1 })))
          yield* Effect.flatMap(
            Repository.make(Account, { snapshots: SnapshotPolicy.manual }),
            (accounts) => accounts.createSnapshot(id("a"))
          ).pipe(Effect.provideService(EventStore.EventStore, elsewhere))
          if (events.length > 0) yield* append(store, events)

          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 3 }) })
          const loaded = yield* accounts.load(id("a"))
          const balance = events.reduce((sum, { amount }) => sum + amount, 0)
          assert.deepInclude(loaded, { version: events.length, snapshotVersion: 0, exists: events.length > 0 })
          assert.strictEqual(loaded.state.balance, balance)
          assert.instanceOf(loaded.snapshotOutcome, Snapshot.HistoryMismatch)
          assert.deepInclude(loaded.snapshotOutcome, {
            version: 9,
            expected: "same-8",
            actual: events.length >= 9 ? events[8].id : null
          })
          yield* accounts.awaitPendingSnapshots
          // the first command that is long enough repairs it, at a lower version than the refuted one
          yield* accounts.executeAll(id("a"), [open, deposit(1, 3)])
          yield* accounts.awaitPendingSnapshots
          const repaired = yield* accounts.load(id("a"))
          assert.strictEqual(repaired.snapshotOutcome._tag, "Hit")
          assert.strictEqual(repaired.state.balance, balance + 3)
          assert.deepInclude(yield* accounts.verify(id("a")), { _tag: "Verified" })
          assert.isTrue(yield* snapshots.exists(stream))
        }))
    }
  }

  it.scoped("a stream without its first events fails with HistoryGap, with and without an unusable snapshot", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
      yield* accounts.executeAll(id("a"), [open, deposit(1, 9)])
      yield* accounts.createSnapshot(id("a"))
      yield* sql`DELETE FROM eventsourcing_events WHERE version < 5`
      assert.deepInclude(yield* accounts.load(id("a")), { version: 10, snapshotOutcome: { _tag: "Hit" } })
      yield* sql`UPDATE eventsourcing_snapshots SET fingerprint = 'x'`
      const attempts: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        accounts.load(id("a")),
        accounts.verify(id("a")),
        accounts.createSnapshot(id("a"))
      ]
      for (const attempt of attempts) {
        const failure = yield* Effect.flip(attempt)
        assert.isTrue(failure instanceof EventStore.HistoryGap && failure.expected === 1 && failure.actual === 5)
      }
    }).pipe(Effect.provide(Layer.provideMerge(sqlStores, sqliteFile(":memory:")))))
})

describe("every outcome is in the result, the metric, the span and the log", () => {
  const outcomes: ReadonlyArray<
    readonly [
      outcome: Snapshot.SnapshotOutcome["_tag"],
      level: string,
      change: Partial<Snapshot.EncodedSnapshot>,
      options?: Repository.Options
    ]
  > = [
    ["Hit", "DEBUG", {}],
    ["None", "DEBUG", { stream: StreamId.make("Account", "elsewhere") }],
    ["Disabled", "DEBUG", {}, { snapshots: SnapshotPolicy.none }],
    ["Drifted", "DEBUG", { fingerprint: "x" }, { onDrift: "decode" }],
    ["SchemaVersionMismatch", "DEBUG", { schemaVersion: 7 }],
    ["SchemaDrift", "WARN", { fingerprint: "x" }],
    ["StateDecodeError", "WARN", { state: "{}" }],
    ["HistoryMismatch", "WARN", { eventId: "x" }],
    ["StoreUnavailable", "WARN", {}]
  ]
  for (const [outcome, level, change, options] of outcomes) {
    each(`${outcome}: in the result, the span, the counter and one line of the log`, () =>
      Effect.gen(function*() {
        yield* Effect.flatMap(
          Repository.make(Account, { snapshots: SnapshotPolicy.manual }),
          (accounts) =>
            Effect.zipRight(accounts.executeAll(id("a"), [open, deposit(1, 3)]), accounts.createSnapshot(id("a")))
        )
        const store = yield* SnapshotStore.SnapshotStore
        const found = yield* Effect.flatten(row)
        yield* store.delete(stream)
        yield* store.save({ ...found, ...change })
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, ...options }).pipe(
          Effect.provideService(
            SnapshotStore.SnapshotStore,
            outcome === "StoreUnavailable" ? { ...store, get: () => Effect.die("planned") } : store
          )
        )
        const count = counted(Metrics.snapshotLoads, { aggregate: "Account", outcome })
        const before = yield* count
        const { logged, observed } = yield* lines
        const { spans, traced } = yield* tracing
        const loaded = yield* accounts.load(id("a")).pipe(traced, observed)
        assert.strictEqual(loaded.snapshotOutcome._tag, outcome)
        assert.deepStrictEqual(loaded.state, { open: true, balance: 3 })
        assert.strictEqual(yield* count, before + 1)
        const ours = logged.filter(({ annotations }) => annotations.aggregate === "Account")
        assert.strictEqual(ours.length, 1)
        assert.strictEqual(ours[0].level, level)
        const { replayed, snapshotVersion } = loaded
        assert.deepStrictEqual(ours[0].annotations, {
          aggregate: "Account",
          id: "a",
          snapshot: outcome,
          replayed,
          snapshotVersion
        })
        const [span] = spans.filter(({ name }) => name === "Repository.load")
        assert.deepStrictEqual(Object.fromEntries(span.attributes), {
          "eventsourcing.aggregate": "Account",
          "eventsourcing.id": "a",
          "eventsourcing.snapshot": outcome,
          "eventsourcing.snapshot_version": snapshotVersion,
          "eventsourcing.replayed": replayed
        })
      }))
  }
})

describe("rows edited by hand", () => {
  const texts = ["", "x", "\\u0000", "' OR 1=1 --", "__proto__", "[]", "null", "NaN", "x".repeat(100_000)]
  const numbers = ["0", "-1", "1", "3", "2147483647"]
  // what is no state of the aggregate's, and what is one but was never folded: only a verification can tell
  const states = [
    "",
    "{",
    "null",
    "[]",
    "\"text\"",
    "{}",
    "{\"open\":true}",
    "{\"open\":\"true\",\"balance\":3}",
    "{\"open\":true,\"balance\":1e999}",
    "{\"open\":true,\"balance\":1.5}",
    "{\"open\":true,\"balance\":\"3\"}",
    "{\"__proto__\":{\"open\":true,\"balance\":3}}",
    `{"open":true,"balance":${"9".repeat(400)}}`,
    `${"[".repeat(50_000)}${"]".repeat(50_000)}`,
    `{"open":true,"balance":"${"x".repeat(5_000_000)}"}`
  ]
  const edits: ReadonlyArray<readonly [column: string, value: string | number]> = [
    ...["event_id", "fingerprint", "aggregate", "stream_id"].flatMap((column) =>
      texts.map((text) => [column, text] as const)
    ),
    ...["version", "schema_version"].flatMap((column) => numbers.map((number) => [column, Number(number)] as const)),
    ...["-9007199254740993", "9007199254740993", "8640000000000001", "-1"].map((time) => ["time", time] as const),
    ...states.map((state) => ["state", state] as const)
  ]
  const beyondVersions = [2_147_483_648, 4_294_967_296, Number.MAX_SAFE_INTEGER, -2_147_483_649]
  const databases: ReadonlyArray<readonly [string, Layer.Layer<Stores | SqlClient.SqlClient, unknown>]> = [
    ["SQLite", Layer.provideMerge(sqlStores, sqliteFile(":memory:"))],
    ["PostgreSQL", Layer.provideMerge(sqlStores, postgresTemporaryDatabase)]
  ]
  for (const [database, layer] of databases) {
    it.scoped(
      `with any value in any column, a load gives the same as a replay (${database})`,
      () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 4 }) })
          const other = yield* Repository.make(AccountV2, { snapshots: SnapshotPolicy.manual })
          yield* accounts.executeAll(id("a"), [open, deposit(1, 3)])
          const good = yield* Effect.flatten(row)
          // a column of SQLite's takes what no version can be
          const beyond = database === "SQLite" ? beyondVersions.map((value) => ["version", value] as const) : []
          for (const [column, value] of [...edits, ...beyond]) {
            yield* sql`DELETE FROM eventsourcing_snapshots`
            yield* (yield* SnapshotStore.SnapshotStore).save(good)
            const literal = sql.literal(`UPDATE eventsourcing_snapshots SET ${column} = `)
            yield* column === "time" ? sql`${literal} ${sql.literal(String(value))}` : sql`${literal} ${value}`
            for (const reader of [accounts, other]) {
              const loaded = yield* reader.load(id("a"))
              assert.deepStrictEqual(
                loaded.state,
                { open: true, balance: 3 },
                `${column} = ${String(value).slice(0, 50)}`
              )
              assert.strictEqual(loaded.version, 4)
            }
            yield* accounts.execute(id("a"), open)
            // and the chance was taken to mend it
            const mended = yield* accounts.load(id("a"))
            assert.strictEqual(mended.snapshotOutcome._tag, "Hit", `${column} = ${String(value).slice(0, 50)}`)
          }
        }).pipe(Effect.provide(layer))
    )
  }
})

describe("states that JSON or their schema cannot represent", () => {
  const Holder = <A, I>(state: Schema.Schema<A, I>) =>
    Aggregate.make({
      name: "Holder",
      id: Schema.String,
      state: Schema.Struct({ held: state }),
      event: Schema.TaggedStruct("Touched", {}),
      command: Schema.String,
      initial: (): { readonly held: A } => {
        throw new Error("not needed")
      },
      evolve: (state) => state,
      decide: () => Either.right([])
    })
  const encode = <A, I>(schema: Schema.Schema<A, I>, held: A) =>
    Snapshot.encode(Holder(schema), { stream, version: 1, eventId: "e", state: { held }, time: DateTime.unsafeMake(0) })
  const cyclic: Record<string, unknown> = { a: { b: [] } }
  cyclic.again = { and: cyclic }
  interface Chain {
    readonly next: Chain | null
  }
  const Chain: Schema.Schema<Chain> = Schema.Struct({ next: Schema.NullOr(Schema.suspend(() => Chain)) })
  const loop: { next: Chain | null } = { next: null }
  loop.next = loop
  const proto: Record<string, number> = JSON.parse("{\"__proto__\":1,\"b\":2}")
  const ok = <A, I>(name: string, schema: Schema.Schema<A, I>, held: A) =>
    it(`kept: ${name}`, () => {
      const encoded = Either.getOrThrow(encode(schema, held))
      const { state } = Either.getOrThrow(Snapshot.decode(Holder(schema), encoded))
      assert.deepStrictEqual(state.held, held)
      assert.isTrue(!Object.is(held, -0) || Object.is(state.held, -0))
    })
  const refused = <A, I>(name: string, schema: Schema.Schema<A, I>, held: A, path: string) =>
    it(`rejected, with its path: ${name}`, () => {
      const error = Either.getOrThrow(Either.flip(encode(schema, held)))
      assert.instanceOf(error, Snapshot.StateEncodeError)
      assert.include(error.message, path)
      assert.isBelow(error.message.length, 700)
    })

  ok("-0", Schema.Number, -0)
  ok("a bigint over 2^53", Schema.BigInt, 9_007_199_254_740_993n)
  ok("an empty object", Schema.Struct({}), {})
  ok("an empty string, NUL, a lone surrogate", Schema.Array(Schema.String), ["", "\u0000", "\uD800"])
  ok("5 MB", Schema.String, "ü\"\\\n".repeat(1_000_000))
  ok(
    "100,000 records",
    Schema.Array(Schema.Struct({ n: Schema.Int })),
    Array.from({ length: 100_000 }, (_, n) => ({ n }))
  )
  ok("the first and the last Date", Schema.Array(Schema.Date), [new Date(-8.64e15), new Date(8.64e15)])
  ok("an invalid Date, if the schema allows it", Schema.DateFromString, new Date(NaN))
  ok("a key named constructor", Schema.Record({ key: Schema.String, value: Schema.Int }), { constructor: 1 })
  ok("a __proto__ in a value of no known shape", Schema.Unknown, proto)
  ok("a shared value, which is not a cycle", Schema.Unknown, [cyclic.a, cyclic.a])

  refused("NaN", Schema.Number, NaN, "$.held is NaN")
  refused("Infinity", Schema.Array(Schema.Number), [1, Infinity], "$.held[1] is Infinity")
  refused("NaN where numbers are finite", Schema.Int, NaN, "$.held must be ")
  refused("a bigint without a schema", Schema.Unknown, [{ a: 1n }], "$.held[0].a is a bigint")
  refused("a Date without a schema", Schema.Unknown, new Date(0), "$.held is a Date")
  refused("an invalid Date, if the schema rejects it", Schema.Date, new Date(8.64e15 + 1), "held")
  refused("a Map, a Set", Schema.Unknown, { m: new Map() }, "$.held.m is a Map")
  refused("undefined in an array", Schema.Array(Schema.Unknown), [1, undefined], "$.held[1] is undefined")
  refused("a function, a symbol", Schema.Unknown, { f: () => 1 }, "$.held.f is a function")
  refused("a cycle", Schema.Unknown, cyclic, "$.held.again.and refers back to $.held")
  refused("a cycle through a recursive schema", Chain, loop, "$.held.next refers back to $.held")
  refused(
    "a __proto__ key, which records lose",
    Schema.Record({ key: Schema.String, value: Schema.Int }),
    proto,
    "$.held"
  )
  refused(
    "digits that a transformation loses",
    Schema.transform(Schema.Int, Schema.Number, { strict: true, decode: (n) => n, encode: Math.round }),
    1.4,
    "$.held does not survive"
  )

  each("such a state does not fail a command, is logged, and is not stored", () =>
    Effect.gen(function*() {
      const Sensor = Aggregate.make({
        name: "Sensor",
        id: Schema.String,
        state: Schema.Struct({ readings: Schema.Array(Schema.Number) }),
        event: Schema.TaggedStruct("Read", { text: Schema.String }),
        command: Schema.TaggedStruct("Read", { text: Schema.String }),
        initial: () => ({ readings: [] }),
        evolve: (state, event) => ({ readings: [...state.readings, Number(event.text)] }),
        decide: (_, { text }) => Either.right([{ _tag: "Read", text }])
      })
      const { logged, observed } = yield* lines
      const once = { every: 1, retry: Schedule.recurs(0) }
      for (const snapshots of [SnapshotPolicy.sync({ every: 1 }), SnapshotPolicy.background(once)]) {
        const sensors = yield* Repository.make(Sensor, { snapshots })
        const done = yield* observed(sensors.execute(snapshots._tag, { _tag: "Read", text: "broken" }))
        assert.strictEqual(done.version, 1)
        assert.isTrue(Number.isNaN((yield* sensors.load(snapshots._tag)).state.readings[0]))
        const failure = yield* Effect.flip(sensors.createSnapshot(snapshots._tag))
        assert.instanceOf(failure, Snapshot.StateEncodeError)
        assert.isFalse(
          yield* (yield* SnapshotStore.SnapshotStore).exists(StreamId.make("Sensor", snapshots._tag))
        )
      }
      assert.isTrue(
        logged.some(({ level, message }) => level === "WARN" && message.includes("a snapshot cannot be kept"))
      )
      const store = yield* EventStore.EventStore
      assert.strictEqual(
        Chunk.size(yield* Stream.runCollect(store.readAll({ aggregates: ["Sensor"] }))),
        2
      )
    }))
})
