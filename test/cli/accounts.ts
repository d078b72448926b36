import { Effect } from "effect"
import { Repository, SnapshotPolicy } from "effect-eventsourcing"
import { fileURLToPath } from "node:url"
import { Account, id } from "../fixtures/Account.js"

/** A module as a user gives it to the command line. */
export const module = fileURLToPath(new URL("./aggregates.ts", import.meta.url))

const open = { _tag: "Open" } as const
const deposit = (amount: number) => ({ _tag: "Deposit", amount }) as const

/** Three accounts, one of them with a snapshot. */
export const accounts = Effect.scoped(Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
  for (const name of ["a-1", "a-2", "a/\u001b[31m"]) {
    yield* accounts.execute(id(name), open, { commandId: `open ${name}`, metadata: { correlationId: "c-7" } })
    yield* accounts.execute(id(name), deposit(5))
  }
  yield* accounts.createSnapshot(id("a-1"))
  yield* accounts.execute(id("a-1"), deposit(2))
}))
