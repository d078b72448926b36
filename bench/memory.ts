// replays a short stream until the process has settled, then a long one, and says what the long one took besides
import { Effect } from "effect"
import { Repository } from "effect-eventsourcing"
import { Account, id } from "./fixtures.js"
import * as Postgres from "./postgres.js"
import * as Sqlite from "./sqlite.js"

const [backend, database, short, long] = process.argv.slice(2)

const peak = () => process.resourceUsage().maxRSS / 1_024

const program = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account)
  yield* Effect.repeatN(accounts.load(id(short)), 29)
  const settled = peak()
  const { replayed } = yield* accounts.load(id(long))
  return { replayed, settled, extra: peak() - settled }
}).pipe(Effect.scoped)

const result = backend === "SQLite"
  ? await Effect.runPromise(Effect.provide(program, Sqlite.storesOn(database)))
  : await Effect.runPromise(Effect.provide(program, Postgres.storesOn(database, { prepared: false })))
console.log(JSON.stringify(result))
