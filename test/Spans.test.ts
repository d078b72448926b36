import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, type Scope, type Tracer } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import { Account, id, open } from "./fixtures/Account.js"
import { memoryStores, postgresTemporaryDatabase, sqliteFile } from "./utils/backends.js"
import { tracing } from "./utils/observe.js"

const deposit = (amount: number) => ({ _tag: "Deposit", amount }) as const

/** Each span with its parent, in the order in which they began. */
const tree = (spans: ReadonlyArray<Tracer.Span>) =>
  spans.map(({ name, parent }) =>
    Option.match(parent, {
      onNone: () => name,
      onSome: (parent) => parent._tag === "Span" ? `${name} in ${parent.name}` : `${name} of another program`
    })
  )

const attributesOf = (spans: ReadonlyArray<Tracer.Span>, name: string) =>
  spans.filter((span) => span.name === name).map(({ attributes }) => Object.fromEntries(attributes))

const databases: ReadonlyArray<
  readonly [
    name: string,
    client: Layer.Layer<SqlClient.SqlClient, unknown>,
    expected: { readonly system: string; readonly missing: string }
  ]
> = [
  ["SQLite", sqliteFile(":memory:"), { system: "sqlite", missing: "SQLITE_ERROR" }],
  ["PostgreSQL", postgresTemporaryDatabase, { system: "postgresql", missing: "42P01" }]
]

for (const [name, client, { missing, system }] of databases) {
  const scoped = (
    text: string,
    body: Effect.Effect<
      void,
      unknown,
      SqlClient.SqlClient | EventStore.EventStore | SnapshotStore.SnapshotStore | Scope.Scope
    >
  ) => it.scoped(`${text} (${name})`, () => Effect.provide(body, Layer.provideMerge(SqlStores.layer, client)))

  describe(`the spans of the stores, ${name}`, () => {
    scoped(
      "a command loads and appends, each in one span with the attributes of the database",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
        yield* traced(accounts.executeAll(id("a"), [open, deposit(1)]))
        assert.deepStrictEqual(tree(spans), [
          "Repository.execute",
          "EventStore.load in Repository.execute",
          "EventStore.append in Repository.execute"
        ])
        assert.deepStrictEqual(spans.map(({ kind }) => kind), ["internal", "client", "client"])
        const [load] = attributesOf(spans, "EventStore.load")
        const [append] = attributesOf(spans, "EventStore.append")
        const { "db.query.text": loadText, ...ofLoad } = load
        const { "db.query.text": appendText, ...ofAppend } = append
        const server = system === "sqlite" ? {} : {
          "db.namespace": load["db.namespace"],
          "server.address": load["server.address"],
          "server.port": load["server.port"]
        }
        assert.notInclude(Object.values(server), undefined)
        const common = {
          "db.system.name": system,
          ...server,
          "db.collection.name": "eventsourcing_events",
          "eventsourcing.aggregate": "Account",
          "eventsourcing.id": "a"
        }
        assert.deepStrictEqual(ofLoad, { ...common, "db.operation.name": "SELECT", "eventsourcing.events": 0 })
        assert.deepStrictEqual(ofAppend, {
          ...common,
          "db.operation.name": "INSERT",
          "eventsourcing.events": 2,
          "eventsourcing.version": 2,
          "eventsourcing.duplicate": false
        })
        for (const text of [loadText, appendText]) assert.match(String(text), /eventsourcing_/)
      })
    )

    scoped(
      "a load counts the events that it read",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual, pageSize: 2 })
        yield* accounts.executeAll(id("a"), [open, deposit(1), deposit(2)])
        yield* traced(accounts.load(id("a")))
        assert.deepStrictEqual(tree(spans), [
          "Repository.load",
          "EventStore.load in Repository.load",
          "EventStore.readTail in Repository.load"
        ])
        assert.deepStrictEqual(spans.slice(1).map(({ attributes }) => attributes.get("eventsourcing.events")), [2, 2])
      })
    )

    const saving = [
      ["sync", SnapshotPolicy.sync({ every: 1 })],
      ["inline", SnapshotPolicy.inline({ every: 1 })]
    ] as const
    for (const [mode, snapshots] of saving) {
      scoped(
        `${mode}: the snapshot is saved in a span of the command`,
        Effect.gen(function*() {
          const { spans, traced } = yield* tracing
          const accounts = yield* Repository.make(Account, { snapshots })
          yield* traced(accounts.execute(id("a"), open))
          assert.deepStrictEqual(tree(spans), [
            "Repository.execute",
            "EventStore.load in Repository.execute",
            "EventStore.append in Repository.execute",
            "SnapshotStore.save in Repository.execute"
          ])
          const [save] = attributesOf(spans, "SnapshotStore.save")
          assert.deepInclude(save, {
            "db.system.name": system,
            "db.operation.name": "INSERT",
            "db.collection.name": "eventsourcing_snapshots",
            "eventsourcing.id": "a",
            "eventsourcing.version": 1,
            "eventsourcing.outcome": "Saved"
          })
        })
      )
    }

    scoped(
      "background: the worker's spans are in a trace of their own",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const accounts = yield* traced(Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 1 }) }))
        yield* traced(accounts.execute(id("a"), open))
        yield* accounts.awaitPendingSnapshots
        assert.includeMembers(tree(spans), [
          "Snapshotter.write",
          "EventStore.load in Snapshotter.write",
          "SnapshotStore.save in Snapshotter.write"
        ])
      })
    )

    scoped(
      "a snapshot store elsewhere is asked in a span of its own",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const snapshots = yield* SnapshotStore.SnapshotStore
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual }).pipe(
          Effect.provideService(SnapshotStore.SnapshotStore, { ...snapshots })
        )
        yield* accounts.execute(id("a"), open)
        yield* accounts.createSnapshot(id("a"))
        yield* traced(Effect.zipRight(accounts.load(id("a")), snapshots.delete(StreamId.make("Account", "a"))))
        assert.deepStrictEqual(tree(spans), [
          "Repository.load",
          "SnapshotStore.get in Repository.load",
          "EventStore.readTail in Repository.load",
          "SnapshotStore.delete"
        ])
        const [get] = attributesOf(spans, "SnapshotStore.get")
        assert.deepInclude(get, { "db.operation.name": "SELECT", "db.collection.name": "eventsourcing_snapshots" })
        assert.deepInclude(attributesOf(spans, "SnapshotStore.delete")[0], { "db.operation.name": "DELETE" })
      })
    )

    scoped(
      "a conflict is the error of its append",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const store = yield* EventStore.EventStore
        const append = store.append(StreamId.make("Account", "a"), [{ id: "e-1", type: "Opened", payload: {} }], {
          expectedVersion: ExpectedVersion.exact(3)
        })
        yield* Effect.exit(traced(append))
        assert.deepStrictEqual(tree(spans), ["EventStore.append"])
        assert.deepInclude(attributesOf(spans, "EventStore.append")[0], { "error.type": "VersionConflict" })
        assert.isTrue(spans[0].status._tag === "Ended" && Exit.isFailure(spans[0].status.exit))
      })
    )

    scoped(
      "a failure of the database has its code",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        yield* sql`DROP TABLE eventsourcing_events`
        yield* Effect.exit(traced(store.find(["e-1"])))
        assert.deepInclude(attributesOf(spans, "EventStore.find")[0], {
          "error.type": missing,
          "db.response.status_code": missing
        })
      })
    )

    scoped(
      "in a transaction of the caller they are in the span of that",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const sql = yield* SqlClient.SqlClient
        const store = yield* EventStore.EventStore
        const append = store.append(StreamId.make("Account", "a"), [{ id: "e-1", type: "Opened", payload: {} }], {
          expectedVersion: ExpectedVersion.any
        })
        yield* traced(sql.withTransaction(append))
        assert.include(tree(spans), "EventStore.append in sql.transaction")
        assert.strictEqual(spans.filter(({ name }) => name !== "sql.transaction").length, 1)
      })
    )

    scoped(
      "while tracing is disabled there are none",
      Effect.gen(function*() {
        const { spans, traced } = yield* tracing
        const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
        yield* traced(Effect.withTracerEnabled(accounts.execute(id("a"), open), false))
        assert.deepStrictEqual(spans, [])
      })
    )
  })
}

it.scoped("a store in memory has no spans of its own", () =>
  Effect.gen(function*() {
    const { spans, traced } = yield* tracing
    const accounts = yield* Repository.make(Account)
    yield* traced(accounts.execute(id("a"), open))
    assert.deepStrictEqual(tree(spans), ["Repository.execute"])
  }).pipe(Effect.provide(memoryStores)))
