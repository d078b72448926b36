import { assert, describe, it } from "@effect/vitest"
import {
  Arbitrary,
  BigDecimal,
  Data,
  DateTime,
  Either,
  Equal,
  FastCheck as fc,
  HashMap,
  Option,
  pipe,
  Schema
} from "effect"
import { Aggregate, InvalidOption, Snapshot, SnapshotPolicy, StreamId } from "effect-eventsourcing"
import { type Folded, foldPage } from "../src/internal/repository/loadable.js"
import * as Policy from "../src/internal/repository/policy.js"
import * as Json from "../src/internal/schema/json.js"
import { Account, AccountCommand, AccountEvent, AccountState, Deposited, id, Opened } from "./fixtures/Account.js"

const stream = StreamId.make("Account", "a-1")
const events = fc.array(Arbitrary.make(AccountEvent), { maxLength: 40 })
const time = DateTime.unsafeMake(0)

const stored = (events: ReadonlyArray<typeof AccountEvent.Type>, from = 1) =>
  events.map((event, index) => ({
    version: from + index,
    type: event._tag,
    payload: JSON.stringify(Either.getOrThrow(Account.event.encode(event))),
    eventId: `event-${from + index}`,
    time: null
  }))

const start = { state: Account.initial(id("a-1")), version: 0, eventId: null, time: null, replayed: 0 }

describe("Aggregate", () => {
  it.prop("replay is a fold of evolve from the initial state", [events], ([events]) => {
    const state = events.reduce(Account.evolve, Account.initial(id("a-1")))
    assert.deepStrictEqual(Aggregate.replay(Account, id("a-1"), events), state)
    assert.deepStrictEqual(pipe(Account, Aggregate.replay(id("a-1"), events)), state)
  })

  it.prop(
    "folding stored events in pages of any size equals one replay",
    [events, fc.integer({ min: 1, max: 50 })],
    ([events, size]) => {
      const rows = stored(events)
      let folded: Folded<AccountState> = start
      for (let i = 0; i < rows.length; i += size) {
        folded = Either.getOrThrow(foldPage(Account, stream, folded, rows.slice(i, i + size)))
      }
      assert.deepStrictEqual(folded.state, Aggregate.replay(Account, id("a-1"), events))
      assert.strictEqual(folded.version, events.length)
      assert.strictEqual(folded.replayed, events.length)
    }
  )

  it.prop(
    "a snapshot at any version and the tail after it equal one replay",
    [events, fc.nat()],
    ([events, at]) => {
      const cut = at % (events.length + 1)
      const before = Aggregate.replay(Account, id("a-1"), events.slice(0, cut))
      const encoded = Either.getOrThrow(
        Snapshot.encode(Account, { stream, version: cut + 1, eventId: "e", state: before, time })
      )
      const { state } = Either.getOrThrow(Snapshot.decode(Account, encoded))
      const from = { state, version: cut, eventId: "e", time: null, replayed: 0 }
      const folded = Either.getOrThrow(foldPage(Account, stream, from, stored(events.slice(cut), cut + 1)))
      assert.deepStrictEqual(folded.state, Aggregate.replay(Account, id("a-1"), events))
    }
  )

  it.prop(
    "deciding a list of commands equals deciding them one by one",
    [fc.array(Arbitrary.make(AccountCommand), { maxLength: 10 })],
    ([commands]) => {
      const state = Account.initial(id("a-1"))
      let expected: Either.Either<{ state: AccountState; events: ReadonlyArray<AccountEvent> }, unknown> = Either.right(
        {
          state,
          events: []
        }
      )
      for (const command of commands) {
        expected = Either.flatMap(
          expected,
          ({ events, state }) =>
            Either.map(Account.decide(state, command), (more) => ({
              state: more.reduce(Account.evolve, state),
              events: [...events, ...more]
            }))
        )
      }
      assert.deepStrictEqual<unknown>(Aggregate.decide(Account, state, commands), expected)
      assert.deepStrictEqual<unknown>(pipe(Account, Aggregate.decide(state, commands)), expected)
    }
  )

  it("rejects an invalid definition with the name of the option", () => {
    const make = (change: object) => () => {
      Aggregate.make({
        name: "A",
        id: Schema.String,
        state: Schema.Int,
        event: Opened,
        command: Schema.String,
        initial: () => 0,
        evolve: () => 0,
        decide: () => Either.right([]),
        ...change
      })
    }
    for (
      const [change, option] of [
        [{ name: "" }, "name"],
        [{ name: "a\u0000" }, "name"],
        [{ name: "x".repeat(256) }, "name"],
        [{ schemaVersion: 0 }, "schemaVersion"],
        [{ schemaVersion: 1.5 }, "schemaVersion"],
        [{ schemaVersion: NaN }, "schemaVersion"],
        [{ event: Schema.Struct({ a: Schema.Int }) }, "event"],
        [{ event: Schema.Union(Opened, Opened) }, "event"],
        [{ event: Schema.Union(Opened, Schema.Struct({ _tag: Schema.String })) }, "event"]
      ] as const
    ) {
      try {
        make(change)()
        assert.fail(`accepted ${JSON.stringify(change)}`)
      } catch (error) {
        assert.instanceOf(error, InvalidOption.InvalidOption)
        assert.include(error.option, option)
      }
    }
    assert.doesNotThrow(make({ name: "__proto__" }))
  })

  it("takes a definition whose functions are methods of a class", () => {
    class Definition {
      readonly name = "Door"
      readonly id = Schema.String
      readonly state = Schema.Int
      readonly event = Opened
      readonly command = Schema.String
      initial() {
        return 0
      }
      evolve(state: number) {
        return state + 1
      }
      decide() {
        return Either.right([Opened.make()])
      }
    }
    const Door = Aggregate.make(new Definition())
    assert.strictEqual(Aggregate.replay(Door, "a", [Opened.make(), Opened.make()]), 2)
  })
})

describe("schemas of every kind", () => {
  class Line extends Schema.Class<Line>("Line")({ sku: Schema.String, price: Schema.BigDecimal }) {}
  class Placed extends Schema.TaggedClass<Placed>()("Placed", { at: Schema.DateFromString, count: Schema.BigInt }) {}
  class Noted extends Schema.TaggedClass<Noted>()("Noted", { note: Schema.Option(Schema.String) }) {}
  class OrderState extends Schema.Class<OrderState>("OrderState")({
    placed: Schema.NullOr(Schema.DateFromString),
    count: Schema.BigInt,
    total: Schema.BigDecimal,
    note: Schema.Option(Schema.String),
    lines: Schema.HashMap({ key: Schema.String, value: Line }),
    ref: Schema.optionalWith(Schema.UUID.pipe(Schema.brand("Ref")), { exact: true })
  }) {}
  const Order = Aggregate.make({
    name: "Order",
    id: Schema.NumberFromString.pipe(Schema.int(), Schema.brand("OrderId")),
    state: OrderState,
    event: Schema.Union(Placed, Noted),
    command: Schema.Union(Schema.TaggedStruct("Place", {}), Schema.TaggedStruct("Note", {})),
    initial: () =>
      new OrderState({
        placed: null,
        count: 0n,
        total: BigDecimal.fromBigInt(0n),
        note: Option.none(),
        lines: HashMap.empty()
      }),
    evolve: (state, event) =>
      event._tag === "Placed"
        ? new OrderState({ ...state, placed: event.at, count: state.count + event.count })
        : new OrderState({ ...state, note: event.note }),
    decide: (_, command) =>
      command._tag === "Note" ? Either.right([new Noted({ note: Option.none() })]) : Either.left("no" as const)
  })

  // dates that are no dates have no text: that is for the schema to refuse
  const valid = Arbitrary.make(OrderState).filter((state) => state.placed === null || !Number.isNaN(+state.placed))

  it.prop("encode then decode is the identity of every state", [valid], ([state]) => {
    const encoded = Either.getOrThrow(Snapshot.encode(Order, { stream, version: 1, eventId: "e", state, time }))
    const decoded = Either.getOrThrow(Snapshot.decode(Order, encoded))
    assert.isTrue(Equal.equals(decoded.state, state) || Schema.equivalence(OrderState)(decoded.state, state))
    assert.instanceOf(decoded.state, OrderState)
  })

  it.prop(
    "an event is stored in its encoded form",
    [Arbitrary.make(Schema.Union(Placed, Noted))],
    ([event]) => {
      fc.pre(event._tag !== "Placed" || !Number.isNaN(+event.at))
      const payload = JSON.parse(Either.getOrThrow(Json.stringify(Either.getOrThrow(Order.event.encode(event)))))
      if (event._tag === "Placed") {
        assert.deepStrictEqual(payload, { _tag: "Placed", at: event.at.toISOString(), count: String(event.count) })
      }
      const decode = Order.event.decoder(event._tag)
      assert.isDefined(decode)
      const decoded = Either.getOrThrow(decode!(payload))
      assert.isTrue(event._tag === "Placed" ? decoded instanceof Placed : decoded instanceof Noted)
      assert.deepStrictEqual(decoded, event)
    }
  )

  it("encodes the id", () => {
    assert.deepStrictEqual(Order.id.encode(Either.getOrThrow(Order.id.decode("7"))), Either.right("7"))
  })
})

describe("Snapshot", () => {
  it.prop("encode then decode is the identity of every state", [Arbitrary.make(AccountState)], ([state]) => {
    const encoded = Either.getOrThrow(Snapshot.encode(Account, { stream, version: 1, eventId: "e", state, time }))
    assert.deepStrictEqual(Either.getOrThrow(Snapshot.decode(Account, encoded)).state, state)
  })

  const encoded = Either.getOrThrow(
    Snapshot.encode(Account, { stream, version: 3, eventId: "e", state: { open: true, balance: 5 }, time })
  )
  const failure = (change: Partial<Snapshot.EncodedSnapshot>) =>
    Either.getOrThrow(Either.flip(Snapshot.decode(Account, { ...encoded, ...change })))

  it("an error names the part that does not fit", () => {
    const mismatch = failure({ schemaVersion: 4 })
    assert.instanceOf(mismatch, Snapshot.SchemaVersionMismatch)
    assert.deepInclude(mismatch, { found: 4, expected: 1 })
    const drift = failure({ fingerprint: "other" })
    assert.instanceOf(drift, Snapshot.SchemaDrift)
    assert.deepInclude(drift, { found: "other", expected: Account.fingerprint })
    for (const state of ["", "{", "null", "{}", "{\"open\":true,\"balance\":\"5\"}", "[]"]) {
      assert.instanceOf(failure({ state }), Snapshot.StateDecodeError)
    }
    for (const version of [0, -1, 1.5, NaN]) assert.instanceOf(failure({ version }), Snapshot.StateDecodeError)
    assert.instanceOf(failure({ time: NaN }), Snapshot.StateDecodeError)
  })

  it("rejects a state that its schema or JSON cannot represent", () => {
    const Floating = Aggregate.make({
      name: "F",
      id: Schema.String,
      state: Schema.Struct({ a: Schema.Array(Schema.Number) }),
      event: Opened,
      command: Schema.String,
      initial: () => ({ a: [] }),
      evolve: (state) => state,
      decide: () => Either.right([])
    })
    const encode = (a: ReadonlyArray<number>) =>
      Snapshot.encode(Floating, { stream, version: 1, eventId: "e", state: { a }, time })
    const refused = Either.getOrThrow(Either.flip(encode([1, NaN])))
    assert.instanceOf(refused, Snapshot.StateEncodeError)
    assert.include(String(refused.cause), "$.a[1]")
    const zero = Either.getOrThrow(Snapshot.decode(Floating, Either.getOrThrow(encode([-0]))))
    assert.isTrue(Object.is(zero.state.a[0], -0))
  })
})

describe("SnapshotPolicy", () => {
  const when: fc.Arbitrary<SnapshotPolicy.When> = fc.letrec<{ when: SnapshotPolicy.When }>((tie) => ({
    when: fc.oneof(
      { maxDepth: 4 },
      fc.integer({ min: 1, max: 20 }).map(SnapshotPolicy.every),
      fc.integer({ min: 1, max: 20 }).map(SnapshotPolicy.whenReplayed),
      fc.constant(SnapshotPolicy.never),
      fc.tuple(tie("when"), tie("when")).map(([a, b]) => SnapshotPolicy.and(a, b)),
      fc.tuple(tie("when"), tie("when")).map(([a, b]) => SnapshotPolicy.or(a, b)),
      tie("when").map(SnapshotPolicy.not)
    )
  })).when
  const progress = fc.record({
    version: fc.integer({ min: 0, max: 60 }),
    snapshotVersion: fc.integer({ min: 0, max: 60 }),
    replayed: fc.integer({ min: 0, max: 60 })
  })
  const { and, every, isDue, never, not, or } = SnapshotPolicy

  it.prop("and, or, not and never follow the laws of logic", [when, when, progress], ([a, b, p]) => {
    assert.strictEqual(isDue(and(a, b), p), isDue(a, p) && isDue(b, p))
    assert.strictEqual(isDue(or(a, b), p), isDue(a, p) || isDue(b, p))
    assert.strictEqual(isDue(not(a), p), !isDue(a, p))
    assert.isFalse(isDue(never, p))
  })

  it.prop(
    "with every(n) no tail grows to n events, for appends of any size",
    [fc.integer({ min: 1, max: 30 }), fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 50 })],
    ([n, strides]) => {
      let version = 0
      let snapshotVersion = 0
      for (const stride of strides) {
        version += stride
        if (isDue(every(n), { version, snapshotVersion, replayed: version - snapshotVersion })) {
          snapshotVersion = version
        }
        assert.isBelow(version - snapshotVersion, n)
      }
    }
  )

  it("an error names the invalid option", () => {
    for (const n of [0, -1, 1.5, NaN, Infinity]) {
      for (
        const policy of [
          SnapshotPolicy.sync({ every: n }),
          SnapshotPolicy.background({ every: n }),
          SnapshotPolicy.sync({ when: or(not(every(n)), never) }),
          SnapshotPolicy.background({ every: 1, workers: n }),
          SnapshotPolicy.background({ every: 1, capacity: n })
        ]
      ) {
        const problem = Policy.problem(policy)
        assert.instanceOf(problem, InvalidOption.InvalidOption)
        assert.include(problem!.message, String(n))
      }
    }
    assert.isUndefined(Policy.problem(SnapshotPolicy.sync({ every: 1 })))
    assert.isUndefined(Policy.problem(SnapshotPolicy.background({ every: 1, workers: 1, capacity: 1 })))
  })
})

describe("strict JSON", () => {
  it.prop("a written value is read back unchanged", [fc.jsonValue()], ([value]) => {
    const text = Either.getOrThrow(Json.stringify(value))
    assert.deepStrictEqual(JSON.parse(text), value)
  })

  it("keeps a negative zero and rejects values that JSON would change", () => {
    assert.deepStrictEqual(Json.stringify([-0, { a: -0, b: undefined }]), Either.right("[-0,{\"a\":-0}]"))
    assert.deepStrictEqual(
      Json.stringify({ a: [1, { "b c": 2n }] }),
      Either.left({
        path: "$.a[1][\"b c\"]",
        reason: "is a bigint, which JSON cannot hold"
      })
    )
  })
})

describe("a rejection", () => {
  it("is the value that decide returned, of any type", () => {
    const refused = Aggregate.decide(Account, Account.initial(id("a")), [{ _tag: "Withdraw", amount: 1 }])
    assert.isTrue(Either.isLeft(refused) && refused.left instanceof Data.Error)
    assert.strictEqual(Deposited.make({ amount: 1 })._tag, "Deposited")
  })
})
