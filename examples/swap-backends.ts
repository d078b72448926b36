// npm run swap-backends -- memory | sqlite | postgres [--file FILE | --url URL]
//
// One program for every backend: the backend is a Layer, and nothing else changes.
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Console, Context, Effect, Layer, Redacted, Stream } from "effect"
import {
  EventStore,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  Sqlite,
  SqlStores,
  StreamId
} from "effect-eventsourcing"
import { parseArgs } from "node:util"
import { Account, AccountId, Deposit, Open, Withdraw } from "./account.js"
import { runMain } from "./terminal.js"

class Accounts extends Context.Tag("bank/Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

const AccountsLive = Repository.layer(Accounts, Account, { snapshots: SnapshotPolicy.background({ every: 10 }) })

const program = Effect.gen(function*() {
  const accounts = yield* Accounts
  const ada = AccountId.make(`ada-${crypto.randomUUID()}`)

  yield* accounts.execute(ada, new Open({ owner: "Ada" }))
  // sixteen writers race for one stream: a writer that loses decides again
  yield* Effect.forEach(
    Array.from({ length: 16 }),
    () => accounts.execute(ada, new Deposit({ amount: 10 })),
    { concurrency: "unbounded", discard: true }
  )
  const refused = yield* Effect.flip(accounts.execute(ada, new Withdraw({ amount: 1_000 })))
  yield* accounts.awaitPendingSnapshots

  const { replayed, snapshotVersion, state, version } = yield* accounts.load(ada)
  yield* Console.log(`Balance ${state.balance} at version ${version}`)
  yield* Console.log(`Refused: ${refused._tag}`)
  yield* Console.log(
    `Snapshot and tail cover the stream: ${snapshotVersion >= 10 && snapshotVersion + replayed === version}`
  )

  const events = yield* EventStore.EventStore
  const types = yield* events.read(StreamId.make("Account", ada)).pipe(
    Stream.map(({ type }) => type),
    Stream.runCollect
  )
  yield* Console.log(`Events: ${Array.from(types).join(" ")}`)
})

const inMemory = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)

const onSqlite = (filename: string) => Layer.provide(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename }))

const onPostgres = (url: string) =>
  Layer.provide(SqlStores.layer, PgClient.layer({ url: Redacted.make(url), connectTimeout: "5 seconds" }))

const main = Effect.gen(function*() {
  const { positionals: [backend = "memory"], values } = yield* Effect.try({
    try: () =>
      parseArgs({
        allowPositionals: true,
        options: {
          file: { type: "string", default: ":memory:" },
          url: { type: "string", default: process.env.DATABASE_URL ?? "postgres://localhost/postgres" }
        }
      }),
    catch: (error) => error
  })
  const withAccounts = Effect.provide(program, AccountsLive)
  switch (backend) {
    case "memory":
      return yield* Effect.provide(withAccounts, inMemory)
    case "sqlite":
      return yield* Effect.provide(withAccounts, onSqlite(values.file))
    case "postgres":
      return yield* Effect.provide(withAccounts, onPostgres(values.url))
    default:
      return yield* Effect.fail(new Error(`Unknown backend ${backend}: choose memory, sqlite or postgres`))
  }
})

runMain(main)
