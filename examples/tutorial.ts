// npm run tutorial [-- --keep | -- --memory | -- --short]
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Console, Effect, Layer, Scope } from "effect"
import {
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  Sqlite,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import { parseArgs } from "node:util"
import { Account, AccountId, AccountV2, Deposit, Open, Withdraw } from "./account.js"
import { bars, meanMillis, progress, runMain, table, temporaryFile } from "./terminal.js"

const id = (text: string) => AccountId.make(text)
const open = new Open({ owner: "Ada" })
const deposit = (amount: number) => new Deposit({ amount })
const withdraw = (amount: number) => new Withdraw({ amount })
const deposits = (count: number) => Array.from({ length: count }, () => deposit(10))

const millis = (value: number) => `${value.toFixed(3)} ms`
const times = (ratio: number) => `${ratio.toFixed(1)}x`

const comparison = Effect.gen(function*() {
  yield* Console.log("\n== Performance: one account, 1 opening and 200 transactions ==")
  const plain = yield* Repository.make(Account)
  const snapshotting = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
  const account = id("comparison")

  yield* plain.execute(account, open)
  for (let i = 0; i < 200; i++) {
    yield* plain.execute(account, i % 2 === 0 ? deposit(10) : withdraw(5))
  }
  const { state, version } = yield* plain.load(account)
  yield* Console.log(`Version ${version}, balance ${state.balance}`)

  yield* snapshotting.createSnapshot(account)
  const without = yield* meanMillis(100, plain.load(account))
  const with_ = yield* meanMillis(100, snapshotting.load(account))
  yield* Console.log(`Mean of 100 loads without snapshot: ${millis(without)}`)
  yield* Console.log(`Mean of 100 loads with snapshot:    ${millis(with_)}`)
  yield* Console.log(`Improvement: ${times(without / with_)}`)
})

const scaling = (short: boolean) =>
  Effect.gen(function*() {
    yield* Console.log("\n== Performance: load time against stream length ==")
    const store = yield* EventStore.EventStore
    const plain = yield* Repository.make(Account)
    const snapshotting = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
    const rows: Array<{ readonly events: number; readonly without: number; readonly with: number }> = []

    for (const events of short ? [100, 1_000] : [100, 1_000, 10_000, 100_000]) {
      const account = id(`scaling-${events}`)
      yield* plain.execute(account, open)
      yield* progress(`Seeding ${events} events`, events - 1, 1_000, (count) =>
        store.append(
          StreamId.make("Account", account),
          Array.from({ length: count }, () => ({
            id: crypto.randomUUID(),
            type: "Deposited",
            payload: { _tag: "Deposited", amount: 10 }
          })),
          { expectedVersion: ExpectedVersion.streamExists }
        ))
      yield* snapshotting.createSnapshot(account)
      const repeats = Math.max(3, Math.min(100, 100_000 / events))
      rows.push({
        events,
        without: yield* meanMillis(repeats, plain.load(account)),
        with: yield* meanMillis(100, snapshotting.load(account))
      })
    }

    yield* Console.log(table(
      ["Events", "Without snapshot", "With snapshot", "Improvement"],
      rows.map((row) => [`${row.events}`, millis(row.without), millis(row.with), times(row.without / row.with)])
    ))
    yield* Console.log(bars(rows.flatMap((row) => [
      [`${row.events} without`, row.without],
      [`${row.events} with`, row.with]
    ])))
  })

const modes = Effect.gen(function*() {
  yield* Console.log("\n== Modes: sync, background, manual ==")
  const snapshots = yield* SnapshotStore.SnapshotStore

  for (const mode of ["sync", "background"] as const) {
    yield* Console.log(`Mode ${mode}, threshold 10, opening and 15 deposits in one save`)
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy[mode]({ every: 10 }) })
    yield* accounts.executeAll(id(mode), [open, ...deposits(15)])
    yield* accounts.awaitPendingSnapshots
    const { snapshotVersion } = yield* accounts.load(id(mode))
    yield* Console.log(`Snapshot at version ${snapshotVersion}`)
  }

  yield* Console.log("Mode manual, opening and 20 deposits")
  const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
  yield* accounts.executeAll(id("manual"), [open, ...deposits(20)])
  yield* Console.log(`Auto snapshot: ${yield* snapshots.exists(StreamId.make("Account", "manual"))}`)
  const { snapshot } = yield* accounts.createSnapshot(id("manual"))
  yield* Console.log(`After manual create: snapshot at version ${snapshot.version}`)
})

const schemaVersions = Effect.gen(function*() {
  yield* Console.log("\n== Schema versions: a snapshot of version 1 read by version 2 ==")
  const account = id("schema-versions")
  const old = yield* Repository.make(Account, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
  yield* old.executeAll(account, [open, ...deposits(15)])

  const current = yield* Repository.make(AccountV2, { snapshots: SnapshotPolicy.sync({ every: 10 }) })
  const first = yield* current.load(account)
  yield* Console.log(
    first.snapshotOutcome._tag === "SchemaVersionMismatch"
      ? `Typed failure: ${first.snapshotOutcome._tag} { found: ${first.snapshotOutcome.found}, expected: ${first.snapshotOutcome.expected} }`
      : `Unexpected: ${first.snapshotOutcome._tag}`
  )
  yield* Console.log(`Full replay: ${first.replayed} events, balance ${first.state.balance}`)
  const second = yield* current.load(account)
  yield* Console.log(
    `Repaired: snapshot at version ${second.snapshotVersion}, ${second.replayed} events replayed, ` +
      `balance ${second.state.balance}`
  )

  const snapshots = yield* SnapshotStore.SnapshotStore
  const deleted = yield* snapshots.deleteByType("Account", { schemaVersionBelow: 2 })
  yield* Console.log(`Deleted ${deleted} snapshots of schema versions below 2`)
})

// the backend is a Layer: nothing above depends on it
const inMemory = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
const onSqlite = (filename: string) => Layer.provide(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename }))

const main = Effect.gen(function*() {
  const { values } = yield* Effect.try({
    try: () =>
      parseArgs({ options: { keep: { type: "boolean" }, memory: { type: "boolean" }, short: { type: "boolean" } } }),
    catch: (error) => error
  })
  const scope = yield* Scope.Scope
  const stores = values.memory === true
    ? inMemory
    : onSqlite(yield* Scope.extend(temporaryFile("bank.db", { keep: values.keep === true }), scope))
  yield* Effect.all([comparison, scaling(values.short === true), modes, schemaVersions], { discard: true }).pipe(
    Effect.scoped,
    Effect.provide(stores)
  )
}).pipe(Effect.scoped)

runMain(main)
