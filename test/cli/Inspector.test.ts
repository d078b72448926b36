// the inspector in a real browser, and what it refuses
import { NodeHttpServer } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule } from "effect"
import { EventStore, ExpectedVersion, Projection, SqlStores, StreamId } from "effect-eventsourcing"
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as http from "node:http"
import * as os from "node:os"
import * as path from "node:path"
import * as Server from "../../src/internal/cli/inspector/server.js"
import * as Module from "../../src/internal/cli/module.js"
import { Account } from "../fixtures/Account.js"
import { sharedDatabases } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { accounts, module } from "./accounts.js"

const chromium = "/usr/bin/chromium"

/** The page as the browser shows it, after its redirects. */
const browse = (url: string): Effect.Effect<string> =>
  Effect.async((resume) => {
    const profile = fs.mkdtempSync(path.join(os.tmpdir(), "chromium-"))
    const flags = [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
      ...["--disable-background-networking", "--disable-component-update", `--user-data-dir=${profile}`]
    ]
    childProcess.execFile(chromium, [...flags, "--dump-dom", url], { timeout: 60_000 }, (error, stdout) => {
      fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
      resume(error === null ? Effect.succeed(stdout) : Effect.die(error))
    })
  })

interface Answer {
  readonly status: number | undefined
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
}

const get = (url: string, options: http.RequestOptions = {}): Effect.Effect<Answer> =>
  Effect.async((resume) => {
    http.request(url, options, (response) => {
      let text = ""
      response.on("data", (chunk) => text += chunk)
      response.on("end", () => resume(Effect.succeed({ status: response.statusCode, headers: response.headers, text })))
    }).on("error", (error) => resume(Effect.die(error))).end()
  })

/** The inspector of a database with three accounts, and a path with its cookie. */
const inspector = Effect.gen(function*() {
  yield* accounts
  const balances = Projection.make({ name: "balances", on: [Account], handle: () => Effect.void })
  yield* Effect.provide(Effect.void, Projection.layer(balances))
  const url = yield* Server.serve("eventsourcing", yield* Module.aggregates(module))
  const { headers } = yield* get(url)
  const cookie = String(headers["set-cookie"]).split(";")[0]
  const { origin } = new URL(url)
  return { url, origin, open: (path: string) => get(`${origin}${path}`, { headers: { cookie } }) }
})

for (const [name, database, client] of sharedDatabases) {
  const inspecting = <E>(title: string, body: Effect.Effect<void, E, Effect.Effect.Context<typeof inspector>>) =>
    it.scopedLive(title, () =>
      Effect.flatMap(database, (target) =>
        Effect.provide(
          body,
          Layer.merge(
            Layer.provideMerge(SqlStores.layer, client(target)),
            NodeHttpServer.layer(() => http.createServer(), { host: "127.0.0.1", port: 0 })
          )
        )))

  describe(`the inspector on ${name}`, () => {
    inspecting(
      "shows streams, the state after each event, the proof of a snapshot, and subscriptions",
      Effect.gen(function*() {
        const { open } = yield* inspector
        const streams = yield* open("/?aggregate=Account")
        assert.include(streams.text, "/stream?aggregate=Account&amp;id=a-1")
        const { text } = yield* open("/stream?aggregate=Account&id=a-1")
        assert.include(text, "version 2, equal to a full replay")
        assert.match(text, /\$\.balance <del>5<\/del> <ins>7<\/ins>/)
        assert.include(text, "&quot;balance&quot;: 7")
        // no text takes the width of another column, and no time breaks
        assert.include(text, `<div class="scroll"><table style="min-width: 50.5rem">`)
        assert.include(text, `<colgroup><col style="width: 5.5rem"><col><col><col></colgroup>`)
        assert.match(text, /<b>Opened<\/b> <span class="quiet"><span class="time">\d{4}-/)
        const { text: tail } = yield* open("/stream?aggregate=Account&id=a-1&from=3")
        assert.notInclude(tail, "Opened")
        assert.match(tail, /<del>5<\/del> <ins>7<\/ins>/)
        const listed = (yield* open("/snapshots")).text
        assert.match(listed, /Account\/a-1<\/a><\/td><td>2<\/td><td>1<\/td>/)
        assert.include(listed, "version 2, equal to a full replay")
        assert.include((yield* open("/snapshots?aggregate=Account&id=a-1")).text, "There are none.")
        assert.include((yield* open("/stream?aggregate=Account&id=a-2")).text, "has no snapshot")
        const lag = yield* Effect.repeat(open("/subscriptions"), { until: ({ text }) => text.includes("<polyline") })
        assert.include(lag.text, "<b>balances</b>")
        assert.include(lag.text, "aria-label=\"at most 7 events behind\"")
        if (everything) {
          const store = yield* EventStore.EventStore
          yield* store.append(StreamId.make("Account", "later"), [{ id: "l", type: "Opened", payload: {} }], {
            expectedVersion: ExpectedVersion.noStream
          })
          // the next look is within two seconds
          yield* Effect.repeat(open("/subscriptions"), {
            until: ({ text }) => text.includes("at most 8 events behind"),
            schedule: Schedule.spaced("100 millis")
          })
        }

        const sql = yield* SqlClient.SqlClient
        yield* sql`UPDATE eventsourcing_snapshots SET state = '{"open":true,"balance":9}'`
        assert.include(
          (yield* open("/stream?aggregate=Account&id=a-1")).text,
          "version 2 differs from a full replay at $.balance"
        )
        yield* sql`UPDATE eventsourcing_events SET payload = '{"_tag":"Deposited","amount":"x"}'
          WHERE stream_id = 'a-1' AND version = 2`
        const broken = (yield* open("/stream?aggregate=Account&id=a-1")).text
        assert.include(broken, "class=\"bad\"")
        assert.include(broken, "Opened")
        // the snapshot has the state at the version of the event that is gone
        yield* sql`UPDATE eventsourcing_events SET payload = '{' WHERE stream_id = 'a-1' AND version = 2`
        const lost = (yield* open("/stream?aggregate=Account&id=a-1")).text
        assert.match(lost, /event 2 of .* does not decode/)
        assert.match(lost, /\$\.balance <del>9<\/del> <ins>11<\/ins>/)
      })
    )

    inspecting(
      "answers the browser that has the token, and no other site",
      Effect.gen(function*() {
        const { open, origin, url } = yield* inspector
        assert.strictEqual(new URL(url).hostname, "127.0.0.1")
        assert.strictEqual((yield* get(`${origin}/`)).status, 401)
        assert.strictEqual((yield* get(`${origin}/?token=${"x".repeat(32)}`)).status, 401)
        assert.strictEqual((yield* get(url, { headers: { host: "evil.example" } })).status, 403)
        assert.strictEqual((yield* get(url, { method: "POST" })).status, 405)
        assert.strictEqual((yield* open("/none")).status, 404)
        assert.strictEqual((yield* open("//")).status, 200)
        assert.strictEqual((yield* open("//[")).status, 404)
        const elsewhere = yield* get(url.replace("/?", "//evil.example/?"))
        assert.strictEqual(elsewhere.headers.location, "/evil.example/")
        const { headers } = yield* get(url)
        assert.match(String(headers["set-cookie"]), /HttpOnly; SameSite=Strict/)
        // another inspector sets a cookie of another name
        assert.include(String(headers["set-cookie"]), `effect-eventsourcing-${new URL(url).port}=`)
        assert.include(headers["content-security-policy"], "default-src 'none'")
        for (const query of ["id=zzz", "id=%00", "id=a-1&from=-1"]) {
          const missing = yield* open(`/stream?aggregate=Account&${query}`)
          assert.strictEqual(missing.status, 404)
          assert.include(missing.text, "There is no such stream.")
          assert.notInclude(missing.text, "--module")
        }
      })
    )
  })
}

// CI installs the browser
describe.skipIf(!fs.existsSync(chromium) && process.env.CI === undefined)("in Chromium", () => {
  const [[, database, client]] = sharedDatabases
  it.scopedLive("the printed address leads to the streams, whose ids cannot write into the page", () =>
    Effect.flatMap(database, (target) =>
      Effect.gen(function*() {
        const { open, url } = yield* inspector
        const store = yield* EventStore.EventStore
        const hostile = StreamId.make("Account", "<script>document.title = 'taken'</script>")
        yield* store.append(hostile, [{ id: "hostile", type: "Opened", payload: { _tag: "Opened" } }], {
          expectedVersion: ExpectedVersion.noStream
        })
        const turned = { id: "turned", type: "Opened", payload: { _tag: "Opened", note: "x\u202ey" } }
        yield* store.append(StreamId.make("Account", "a\nb\u202ec"), [turned], {
          expectedVersion: ExpectedVersion.noStream
        })
        const { text } = yield* open("/stream?aggregate=Account&id=a%0Ab%E2%80%AEc")
        assert.include(text, "<title>Account/a\\u{a}b\\u{202e}c</title>")
        assert.include(text, "x\\u{202e}y")
        assert.notInclude(text, "\u202e")
        const shown = yield* browse(url)
        assert.include(shown, "<title>Streams</title>")
        assert.include(shown, "&lt;script&gt;document.title")
        // as the command line shows them
        assert.include(shown, ">a\\u{a}b\\u{202e}c</a>")
        assert.notInclude(shown, "\u202e")
        assert.include(shown, "id=a%0Ab%E2%80%AEc\"")
        const account = yield* browse(url.replace("/?", "/stream?aggregate=Account&id=a-1&"))
        assert.include(account, "<ins>7</ins>")
        assert.include(shown, ">a-1</a>")
        assert.notInclude(shown, "<script")
      }).pipe(
        Effect.provide(Layer.merge(
          Layer.provideMerge(SqlStores.layer, client(target)),
          NodeHttpServer.layer(() => http.createServer(), { host: "127.0.0.1", port: 0 })
        ))
      )))
})
