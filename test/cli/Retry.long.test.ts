// the command line handles parked events again: once, also by two at a time, and after one that was killed
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { EventStore, Projection, Projections, Repository, SnapshotPolicy, Subscription } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import { Account, deposit, id } from "../fixtures/Account.js"
import { databases } from "./databases.js"
import { invoke, jsonOf } from "./invoke.js"

const moduleOf = (name: string) => fileURLToPath(new URL(`./modules/${name}.ts`, import.meta.url))

const module = moduleOf("deposits")

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url))

/** Parks the events of three accounts: three deposits for the projection, three openings for the subscription. */
const park = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE deposits (book TEXT NOT NULL, event TEXT NOT NULL, amount INTEGER NOT NULL)`
  yield* sql`CREATE TABLE mails (event TEXT NOT NULL)`
  const { head } = yield* EventStore.EventStore
  const options = { poison: "park", retry: Schedule.stop } as const
  const handle = () => Effect.fail("not now")
  const deposits = Projection.make({ name: "deposits", on: [Projection.only(Account, ["Deposited"])], handle })
  const mails = Subscription.make({
    name: "mails",
    from: "start",
    on: [Projection.only(Account, ["Opened"])],
    handle
  })
  yield* Effect.all([
    Projections.awaitPosition("deposits", yield* head),
    Projections.awaitPosition("mails", yield* head)
  ]).pipe(
    Effect.provide(Layer.merge(Projection.layer(deposits, options), Subscription.layer(mails, options)))
  )
})

const rows = (table: "deposits" | "mails") =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      Effect.map(sql.unsafe<{ event: string }>(`SELECT event FROM ${table}`), (rows) => rows.map((row) => row.event))
  )

for (const { name, on, written } of databases) {
  const parked = Effect.tap(written, (url) => on(url, park))

  describe(`retry on ${name}`, () => {
    it.scopedLive("asks, and handles the parked events by the module's handler with the module's services", () =>
      Effect.gen(function*() {
        const url = yield* parked
        const retry = (...args: ReadonlyArray<string>) => invoke("retry", ...args, "--url", url, "--json")
        const shy = yield* retry("deposits", "--module", module)
        assert.deepStrictEqual(jsonOf(shy), [{ parked: 4, handled: 0, failed: 0 }])
        assert.include(shy.err, "give --yes to handle the 4 parked events of deposits 1 again")
        const done = yield* retry("deposits", "--module", module, "--yes")
        assert.deepStrictEqual(jsonOf(done), [{ parked: 4, handled: 4, failed: 0 }])
        assert.strictEqual((yield* on(url, rows("deposits"))).length, 4)
        const again = yield* retry("deposits", "--module", module, "--yes")
        assert.deepStrictEqual(jsonOf(again), [{ parked: 0, handled: 0, failed: 0 }])
        const mails = yield* retry("mails", "--module", module, "--yes")
        assert.deepStrictEqual(jsonOf(mails), [{ parked: 3, handled: 3, failed: 0 }])
        assert.strictEqual((yield* on(url, rows("mails"))).length, 3)
      }))

    it.scopedLive("prints the events that fail again, keeps them parked, and undoes what their handler wrote", () =>
      Effect.gen(function*() {
        const url = yield* written
        yield* on(
          url,
          Effect.scoped(Effect.gen(function*() {
            const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.none })
            yield* accounts.execute(id("a-2"), deposit(13))
            yield* accounts.execute(id("a-2"), deposit(1))
          }))
        )
        yield* on(url, park)
        const { code, err, ...printed } = yield* invoke(
          "retry",
          "deposits",
          "--module",
          module,
          "--url",
          url,
          "--json",
          "--yes"
        )
        assert.strictEqual(code, 1)
        assert.include(err, "1 event failed again")
        const [failure, counts] = jsonOf({ code, err, ...printed })
        assert.include(String(failure.reason), "an amount that no book takes")
        // the deposit after it is in the same stream
        assert.deepStrictEqual(counts, { parked: 6, handled: 4, failed: 1 })
        assert.strictEqual((yield* on(url, rows("deposits"))).length, 4)
        const left = jsonOf(yield* invoke("parked", "deposits", "--url", url, "--json"))
        assert.strictEqual(left.length, 2)
      }))

    it.scopedLive("handles each event once, by two at a time", () =>
      Effect.gen(function*() {
        const url = yield* parked
        const retry = invoke("retry", "deposits", "--module", module, "--url", url, "--json", "--yes")
        const both = yield* Effect.all([retry, retry], { concurrency: "unbounded" })
        const handled = both.map((one) => {
          assert.strictEqual(one.code, 0, one.err)
          return Number(jsonOf(one)[0].handled)
        })
        assert.strictEqual(handled[0] + handled[1], 4)
        const events = yield* on(url, rows("deposits"))
        assert.strictEqual(events.length, 4)
        assert.strictEqual(new Set(events).size, 4)
      }))

    it.scopedLive("handles each event once, after one that was killed in its handler", () =>
      Effect.gen(function*() {
        const url = yield* parked
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            childProcess.spawn(process.execPath, [
              ...["--import", "tsx", main, "retry", "deposits", "--module", module, "--url", url, "--yes"]
            ], { env: { ...process.env, DEPOSITS_HANG: "1" }, stdio: ["ignore", "ignore", "pipe"] })
          ),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        // the handler tells when it has written its row
        yield* Effect.async<void>((resume) => void child.stderr.once("data", () => resume(Effect.void)))
        child.kill("SIGKILL")
        yield* Effect.async<void>((resume) => void child.once("close", () => resume(Effect.void)))
        assert.deepStrictEqual(yield* on(url, rows("deposits")), [])
        const done = yield* invoke("retry", "deposits", "--module", module, "--url", url, "--json", "--yes")
        assert.deepStrictEqual(jsonOf(done), [{ parked: 4, handled: 4, failed: 0 }])
        assert.strictEqual((yield* on(url, rows("deposits"))).length, 4)
      }))

    it.scopedLive("refuses a module that does not fit, and changes nothing", () =>
      Effect.gen(function*() {
        const url = yield* parked
        const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: string]> = [
          [["deposits", "--module", moduleOf("ownClient")], "has a SqlClient of its own"],
          [["deposits", "--module", moduleOf("broken")], "the service is away"],
          [["deposits", "--module", moduleOf("customers")], "does not export version 1 of it, but none"],
          [["mails", "--module", moduleOf("broken")], "does not export version 1 of it, but deposits 1"],
          [["deposits", "--of-version", "2", "--module", module], "does not export version 2"],
          [["depsits", "--module", module], "SubscriptionMismatch"]
        ]
        for (const [args, says] of cases) {
          const { code, err } = yield* invoke("retry", ...args, "--url", url, "--yes")
          assert.strictEqual(code, 1, args.join(" "))
          assert.include(err, says)
        }
        assert.deepStrictEqual(yield* on(url, rows("deposits")), [])
      }))
  })
}
