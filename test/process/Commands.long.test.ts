// two processes send the same commands to shared accounts, are killed and started again: each command counts once
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, Repository } from "effect-eventsourcing"
import { Account, id } from "../fixtures/Account.js"
import { sharedDatabases, sqlStores } from "../utils/backends.js"
import { accountOf, problemsOf, sendAll } from "../utils/sendings.js"

const commands = 500
const kills = 4

describe("two processes that send the same commands", () => {
  for (const [name, database, client] of sharedDatabases) {
    it.scopedLive(
      `are killed and started again: each command counts once (${name})`,
      () =>
        Effect.gen(function*() {
          const target = yield* database
          const seed = Math.floor(Math.random() * 2 ** 31)
          const answers = yield* Effect.all(
            [sendAll(target, { commands, kills, seed }), sendAll(target, { commands, kills, seed: seed + 1_000 })],
            { concurrency: "unbounded" }
          )
          yield* Effect.gen(function*() {
            assert.deepStrictEqual(yield* problemsOf(commands, answers.flat()), [], `seed ${seed}`)
            assert.isTrue(answers.flat().some(({ duplicate }) => duplicate), "no command was sent twice")
            // the account refuses a second withdrawal of all that it has
            const accounts = yield* Repository.make(Account)
            const account = id(accountOf(0))
            const { state } = yield* accounts.load(account)
            const all = { _tag: "Withdraw", amount: state.balance } as const
            const first = yield* accounts.execute(account, all, { commandId: "all" })
            const again = yield* accounts.execute(account, all, { commandId: "all" })
            assert.deepInclude(again, { duplicate: true, version: first.version, state: { open: true, balance: 0 } })
            const events = yield* EventStore.EventStore
            assert.strictEqual(yield* events.version(first.recorded[0].stream), first.version)
          }).pipe(Effect.provide(Layer.provide(sqlStores, client(target))))
        }),
      1_200_000
    )
  }
})
