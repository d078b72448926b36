// the inspector on streams that were truncated, deleted or rewritten, or that have data of erased people
import { NodeHttpServer } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Personal, Repository, SnapshotPolicy, SqlKeyStore, SqlStores, Streams } from "effect-eventsourcing"
import * as http from "node:http"
import { fileURLToPath } from "node:url"
import * as Server from "../../src/internal/cli/inspector/server.js"
import * as Module from "../../src/internal/cli/module.js"
import { Account, deposit, id, open, stream } from "../fixtures/Account.js"
import { Customer } from "../fixtures/Customer.js"
import { sharedDatabases } from "../utils/backends.js"
import { module } from "./accounts.js"
import { invoke, jsonOf } from "./invoke.js"

const customers = fileURLToPath(new URL("./modules/customers.ts", import.meta.url))

interface Page {
  readonly status: number
  readonly text: string
}

/** Opens the pages of an inspector, which has begun when the streams were written. */
const inspector = Effect.gen(function*() {
  const aggregates = new Map([...yield* Module.aggregates(module), ...yield* Module.aggregates(customers)])
  const url = new URL(yield* Server.serve("eventsourcing", aggregates))
  const entered = yield* Effect.promise(() => fetch(url, { redirect: "manual" }))
  const cookie = String(entered.headers.get("set-cookie")).split(";")[0]
  return (path: string): Effect.Effect<Page> =>
    Effect.promise(async () => {
      const response = await fetch(`${url.origin}${path}`, { headers: { cookie } })
      return { status: response.status, text: await response.text() }
    })
})

const ada = { name: Personal.make("customer-7", "Ada Lovelace"), plan: "free" }

for (const [name, database, client] of sharedDatabases) {
  const inspecting = <E>(
    title: string,
    body: (
      url: string
    ) => Effect.Effect<
      void,
      E,
      Effect.Effect.Context<typeof inspector> | Streams.Streams | Personal.Sealing | SqlClient.SqlClient
    >
  ) =>
    it.scopedLive(title, () =>
      Effect.flatMap(database, (target) =>
        Effect.provide(
          body(target),
          Layer.merge(
            SqlStores.layer.pipe(
              Layer.provideMerge(Personal.layer),
              Layer.provideMerge(SqlKeyStore.layer),
              Layer.provideMerge(client(target))
            ),
            NodeHttpServer.layer(() => http.createServer(), { host: "127.0.0.1", port: 0 })
          )
        )))

  describe(`the inspector on ${name}`, () => {
    inspecting(
      "shows the snapshot of a removed beginning as the only source of the state, and the states from it on",
      (url) =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
          const streams = yield* Streams.Streams
          yield* accounts.execute(id("a"), open)
          yield* accounts.execute(id("a"), deposit(1, 3))
          yield* accounts.createSnapshot(id("a"))
          yield* accounts.execute(id("a"), deposit(7))
          yield* streams.truncate(stream("a"), { aggregate: Account, before: 3, events: "remove" })
          const page = yield* inspector
          const { text } = yield* page("/stream?aggregate=Account&id=a")
          assert.include(text, `<span class="quiet">version 4, used by a load: it is the only source of the state`)
          assert.include((yield* page("/snapshots")).text, "used by a load: it is the only source")
          assert.notInclude(text, `class="bad"`)
          assert.include(text, "its content was removed")
          assert.notInclude(text, "&quot;balance&quot;: 2")
          assert.include(text, "&quot;balance&quot;: 3")
          assert.match(text, /\$\.balance <del>3<\/del> <ins>10<\/ins>/)
          const tail = (yield* page("/stream?aggregate=Account&id=a&from=3")).text
          assert.include(tail, `<span class="quiet">the content of event 1`)
          assert.include(tail, "<ins>10</ins>")
          const printed = yield* invoke("snapshots", "--module", module, "--url", url, "--json")
          assert.deepInclude(jsonOf(printed)[0], { version: 4, use: "only" })
          // nothing stands for a snapshot that cannot be used
          yield* (yield* SqlClient.SqlClient)`UPDATE eventsourcing_snapshots SET state = '{}'`
          const lost = yield* invoke("snapshots", "--module", module, "--url", url, "--json")
          assert.deepInclude(jsonOf(lost)[0], { version: 4, use: "unknown" })
          const { text: red } = yield* page("/stream?aggregate=Account&id=a&from=3")
          assert.match(red, /class="bad">the content of event 1 .* and it was not used/)
        })
    )

    inspecting(
      "shows a snapshot with data of an erased person without an alarm, and no personal data in what an event changed",
      () =>
        Effect.gen(function*() {
          const customers = yield* Repository.make(Customer, { snapshots: SnapshotPolicy.manual })
          yield* customers.execute("7", { _tag: "Register", ...ada })
          yield* customers.execute("7", { _tag: "Register", ...ada, name: Personal.make("customer-7", "Ada King") })
          yield* customers.createSnapshot("7")
          const page = yield* inspector
          const { text } = yield* page("/stream?aggregate=Customer&id=7")
          assert.match(text, /\$\.name <del>null<\/del> <ins>Personal\(&lt;redacted&gt;\)<\/ins>/)
          assert.match(text, /<del>Personal\(&lt;redacted&gt;\)<\/del> <ins>Personal\(&lt;redacted&gt;\)<\/ins>/)
          yield* Personal.erase("customer-7")
          const { text: erased } = yield* page("/stream?aggregate=Customer&id=7")
          assert.match(erased, /\$\.name <del>null<\/del> <ins>erased<\/ins>/)
          assert.include(erased, `<span class="quiet">a load replays instead: SubjectErased`)
          assert.notInclude(erased, `class="bad"`)
        })
    )

    inspecting(
      "says which streams were deleted or truncated, and which events were rewritten",
      () =>
        Effect.gen(function*() {
          const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
          const streams = yield* Streams.Streams
          const metadata = { by: "support", reason: "a <typo>" }
          for (const name of ["kept", "gone", "truncated", "rewritten"]) {
            yield* accounts.execute(id(name), open)
            yield* accounts.execute(id(name), deposit(5, 3))
          }
          yield* streams.delete(stream("kept"), { events: "keep", metadata })
          yield* streams.delete(stream("gone"), { events: "remove" })
          const payload = { _tag: "Deposited", amount: 40 }
          yield* streams.rewrite(stream("rewritten"), 2, payload, { aggregate: Account, metadata })
          yield* accounts.createSnapshot(id("truncated"))
          yield* streams.truncate(stream("truncated"), { aggregate: Account, before: 2, events: "remove", metadata })
          yield* streams.truncate(stream("truncated"), {
            aggregate: Account,
            before: 4,
            events: "archive",
            unverified: true
          })
          const page = yield* inspector
          const shown = (name: string) => Effect.map(page(`/stream?aggregate=Account&id=${name}`), ({ text }) => text)
          const kept = yield* shown("kept")
          assert.match(
            kept,
            /<b>deleted<\/b>\s+<span class="quiet"><span class="time">\d{4}-.*Z<\/span>, by support, a &lt;typo&gt;</
          )
          assert.include(kept, "Deposited")
          assert.notInclude(kept, `class="bad"`)
          const gone = yield* shown("gone")
          assert.include(gone, "<b>deleted</b>, with its events")
          assert.notInclude(gone, " removed</b>")
          assert.notInclude(gone, `class="bad"`)
          const rewritten = yield* shown("rewritten")
          assert.strictEqual(rewritten.split("<b>rewritten</b>").length, 2)
          assert.match(
            rewritten,
            /<b>rewritten<\/b> <span class="quiet"><span class="time">\d{4}-.*Z<\/span>, by support, .*, see version 5</
          )
          assert.notInclude(rewritten, "<b>deleted</b>")
          const truncated = yield* shown("truncated")
          assert.match(
            truncated,
            /<b>the content of event 1 was removed<\/b> <span class="quiet"><span class="time">\d{4}-/
          )
          assert.include(truncated, "<b>the contents of events 2 to 3 were archived</b>")
          assert.notInclude(truncated, `class="bad"`)
        })
    )
  })
}
