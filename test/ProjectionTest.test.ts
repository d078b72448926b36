import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Either, Exit, Ref, Schema } from "effect"
import { Aggregate, InvalidOption, Projection, Sqlite, StreamId, Versions } from "effect-eventsourcing"
import { ProjectionTest } from "effect-eventsourcing/testing"
import { AssertionError } from "node:assert"
import { Account, id } from "./fixtures/Account.js"

const deposited = (account: string, amount: number) =>
  ProjectionTest.event(Account, id(account), { _tag: "Deposited", amount })
const history = [deposited("a", 1), deposited("b", 2), deposited("a", 3), deposited("b", 4)]

/** A projection that notes its pages. */
const noting = Effect.map(Ref.make<ReadonlyArray<ReadonlyArray<string>>>([]), (pages) => ({
  pages: Ref.get(pages),
  clear: Ref.set(pages, []),
  projection: Projection.make({
    name: "notes",
    on: [Projection.only(Account, ["Deposited"])],
    handle: (events) =>
      Ref.update(pages, (before) => [
        ...before,
        events.map(({ aggregateId, event, id, version }) => `${id} ${aggregateId}${version} ${event.amount}`)
      ])
  })
}))

const failureOf = (exit: Exit.Exit<unknown, unknown>): AssertionError => {
  const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  if (defect instanceof AssertionError) return defect
  throw new Error(`no assertion failed: ${String(exit)}`)
}

describe("ProjectionTest", () => {
  it.effect("hands decoded events in their envelopes to the handler, in one page", () =>
    Effect.gen(function*() {
      const { pages, projection } = yield* noting
      yield* ProjectionTest.given(projection, history).then(pages, [
        ["event-1 a1 1", "event-2 b1 2", "event-3 a2 3", "event-4 b2 4"]
      ])
    }))

  it.effect("hands them out in pages, without the events that the projection does not read", () =>
    Effect.gen(function*() {
      const { pages, projection } = yield* noting
      const opened = ProjectionTest.event(Account, id("a"), { _tag: "Opened" })
      const foreign = ProjectionTest.stored(StreamId.make("Other", "a"), { type: "Any", payload: 1 })
      const given = [opened, history[0], foreign, history[1], opened, history[2]]
      yield* ProjectionTest.given(projection, given, { pageSize: 2 }).then(pages, [
        ["event-2 a2 1", "event-4 b1 2"],
        ["event-6 a4 3"]
      ])
    }))

  it.effect("does nothing for a history without events", () =>
    Effect.gen(function*() {
      const { pages, projection } = yield* noting
      yield* ProjectionTest.given(projection, []).then(pages, [])
      yield* ProjectionTest.checkPages(projection, [], { clear: Effect.void, read: pages })
    }))

  it.effect("tells a read model that is another one, with both", () =>
    Effect.gen(function*() {
      const { pages, projection } = yield* noting
      const failed = failureOf(
        yield* Effect.exit(ProjectionTest.given(projection, [history[0]]).then(pages, [["event-1 a1 2"]]))
      )
      assert.include(failed.message, "notes: the read model is another one.")
      assert.include(failed.message, "\"Account a\"")
      assert.deepStrictEqual([failed.expected, failed.actual], [[["event-1 a1 2"]], [["event-1 a1 1"]]])
    }))

  it.effect("fails with the errors of the handler and of the read", () =>
    Effect.gen(function*() {
      const broken = Projection.make({ name: "broken", on: [Account], handle: () => Effect.fail("broken" as const) })
      const { projection } = yield* noting
      assert.strictEqual(yield* Effect.flip(ProjectionTest.given(broken, history).handled), "broken")
      const unread = ProjectionTest.given(projection, history).then(Effect.as(Effect.fail("unread" as const), 1), 1)
      assert.strictEqual(yield* Effect.flip(unread), "unread")
    }))

  it.effect("upcasts events of older code, leaves retired ones out, and does not skip unknown types", () =>
    Effect.gen(function*() {
      const Counted = Schema.TaggedStruct("Counted", { by: Schema.Int })
      const Counter = Aggregate.make({
        name: "Counter",
        id: Schema.String,
        state: Schema.Int,
        event: Counted,
        upcasts: {
          Bumped: Versions.from(1, Schema.TaggedStruct("Bumped", {})).to(Counted, () => Counted.make({ by: 1 })),
          Renamed: Versions.renamed("Counted"),
          Old: Versions.retired
        },
        command: Schema.TaggedStruct("Count", {}),
        initial: () => 0,
        evolve: (state) => state,
        decide: () => Either.right([])
      })
      const seen = yield* Ref.make<ReadonlyArray<readonly [string, number]>>([])
      const projection = Projection.make({
        name: "counts",
        on: [Projection.only(Counter, ["Counted"])],
        handle: (events) =>
          Ref.update(seen, (all) => [...all, ...events.map(({ event, type }) => [type, event.by] as const)])
      })
      const stored = (type: string, payload: unknown) =>
        ProjectionTest.stored(StreamId.make("Counter", "a"), { type, payload })
      const given = [
        stored("Bumped", { _tag: "Bumped" }),
        stored("Renamed", { _tag: "Renamed", by: 2 }),
        stored("Old", { any: "thing" }),
        ProjectionTest.event(Counter, "a", { _tag: "Counted", by: 3 })
      ]
      yield* ProjectionTest.given(projection, given).then(Ref.get(seen), [["Bumped", 1], ["Renamed", 2], [
        "Counted",
        3
      ]])
      const exit = yield* Effect.exit(ProjectionTest.given(projection, [stored("New", { _tag: "New" })]).handled)
      assert.include(failureOf(exit).message, "does not decode")
    }))

  it.effect("dies at an event that does not decode", () =>
    Effect.gen(function*() {
      const { projection } = yield* noting
      const bad = ProjectionTest.stored(StreamId.make("Account", "a"), {
        type: "Deposited",
        payload: { _tag: "Deposited", amount: "5" }
      })
      const exit = yield* Effect.exit(ProjectionTest.given(projection, [bad]).handled)
      assert.include(failureOf(exit).message, "notes: an event does not decode.")
    }))

  it("refuses ids and events that do not match their schemas", () => {
    const refused = (body: () => unknown) => {
      const error = Either.flip(Either.try(body)).pipe(Either.getOrThrow)
      assert.instanceOf(error, InvalidOption.InvalidOption)
    }
    refused(() => ProjectionTest.event(Account, JSON.parse("\"\""), { _tag: "Opened" }))
    refused(() => deposited("a", 0.5))
    refused(() =>
      ProjectionTest.given(Projection.make({ name: "n", on: [Account], handle: () => Effect.void }), [], {
        pageSize: 0
      })
    )
  })

  it("is rejected if it is awaited without an assertion", async () => {
    const { projection } = await Effect.runPromise(noting)
    const given: unknown = ProjectionTest.given(projection, history)
    const error = await Promise.resolve(given).then(() => undefined, (error: unknown) => error)
    assert.instanceOf(error, AssertionError)
    assert.include(error.message, "nothing is asserted")
  })

  it.effect("works with the tables of a database", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL)`
      const Balances = Projection.make({
        name: "balances",
        on: [Projection.only(Account, ["Deposited"])],
        handle: (events) =>
          Effect.forEach(events, ({ aggregateId, event }) =>
            sql`INSERT INTO balances VALUES (${aggregateId}, ${event.amount})
              ON CONFLICT (account) DO UPDATE SET balance = balance + excluded.balance`)
      })
      const read = sql<{ account: string; balance: number }>`SELECT * FROM balances ORDER BY account`
      yield* ProjectionTest.given(Balances, history).then(read, [
        { account: "a", balance: 4 },
        { account: "b", balance: 6 }
      ])
      yield* ProjectionTest.checkPages(Balances, history, { clear: sql`DELETE FROM balances`, read, runs: 5 })
    }).pipe(Effect.provide(Sqlite.layer(SqliteClient.layer, { filename: ":memory:" }))))
})

describe("ProjectionTest.checkPages", () => {
  it.effect("finds a handler whose read model depends on the pages, and shows the fewest pages", () =>
    Effect.gen(function*() {
      const { clear, pages, projection } = yield* noting
      const read = Effect.map(pages, (all) => all.length > 1)
      const exit = yield* Effect.exit(
        ProjectionTest.checkPages(projection, history, { clear, read, seed: 3 })
      )
      const { actual, expected, message } = failureOf(exit)
      assert.deepStrictEqual([expected, actual], [false, true])
      assert.include(message, "the read model depends on the pages")
      assert.match(message, /seed +3/)
      // two pages suffice
      assert.strictEqual((yield* pages).length, 2)
    }))

  it.effect("finds a handler that looks only at the last event of a page", () =>
    Effect.gen(function*() {
      const sum = yield* Ref.make(0)
      const last = Projection.make({
        name: "last",
        on: [Projection.only(Account, ["Deposited"])],
        handle: (events) => Ref.update(sum, (before) => before + events[events.length - 1].event.amount)
      })
      const exit = yield* Effect.exit(
        ProjectionTest.checkPages(last, history, { clear: Ref.set(sum, 0), read: Ref.get(sum) })
      )
      assert.strictEqual(failureOf(exit).expected, 4)
    }))
})
