import { Effect, Exit, Scope } from "effect"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as http from "node:http"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { root, run } from "../utils/npm.js"
import { temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"
import { rebuildShop, type Shop, startShop } from "../utils/shop.js"

const restock = (quantity: number) => ({ _tag: "Restock", quantity })
const count = (length: number) => Array.from({ length }, (_, i) => i)

/** Sends a command to one process, and if that is killed to the other, as a client with a key may do. */
const send = async (shops: ReadonlyArray<Shop>, path: string, body: unknown, key: string) => {
  for (let i = 0; i < 100; i++) {
    const answer = await shops[i % shops.length].call(path, body, { "idempotency-key": key }).catch(() => undefined)
    if (answer !== undefined && answer.status !== 503) return answer
  }
  throw new Error("no process answers")
}

for (const backend of ["SQLite", "PostgreSQL"] as const) {
  describe(`examples/shop in two processes on ${backend}`, () => {
    const scope = Effect.runSync(Scope.make())
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "shop-"))
    const started: Array<Shop> = []
    let env: Readonly<Record<string, string>> = {}
    const start = async (more: Readonly<Record<string, string>> = {}) => {
      const shop = await startShop({ ...env, ...more })
      started.push(shop)
      return shop
    }
    const newDatabase = async () => {
      env = backend === "SQLite"
        ? { DATABASE_FILE: path.join(folder, `${crypto.randomUUID()}.db`) }
        : { DATABASE_URL: await Effect.runPromise(Scope.extend(temporaryDatabase(postgresUrl()), scope)) }
    }
    beforeAll(newDatabase)
    afterAll(async () => {
      await Promise.all(started.map((shop) => shop.stop("SIGKILL")))
      await Effect.runPromise(Scope.close(scope, Exit.void))
      fs.rmSync(folder, { recursive: true, force: true })
    })

    it("counts each command once and settles each order, although one process is killed", async () => {
      const shops = await Promise.all([start(), start()])
      await shops[0].call("/products/mug", { _tag: "List", name: "Mug", price: 900 })

      // the same request to both at the same time
      const doubled = await Promise.all(
        count(10).flatMap((key) => shops.map((_, i) => send([shops[i]], "/products/mug", restock(3), `restock ${key}`)))
      )
      assert.isTrue(doubled.every(({ status }) => status === 200))
      assert.strictEqual(doubled.filter(({ body }) => body.duplicate).length, 10)
      assert.deepInclude((await shops[1].call("/products/mug")).body, { stock: 30 })

      // there is stock for thirty of forty orders
      const orders = count(40).map((i) => `o-${i}`)
      const placing = orders.map(async (order, i) => {
        if (i === 20) await shops[0].stop("SIGKILL")
        const [first, second] = i % 2 === 0 ? shops : shops.toReversed()
        return send([first, second], `/orders/${order}`, { product: "mug", quantity: 1 }, order)
      })
      const placed = await Promise.all(placing)
      assert.isTrue(placed.every(({ status }) => status === 200))
      const settled = await Promise.all(orders.map((order) => shops[1].settled(order)))
      assert.strictEqual(settled.filter(({ status }) => status === "confirmed").length, 30)
      assert.strictEqual(settled.filter(({ status }) => status === "refused").length, 10)

      await shops[1].call("/products/mug", restock(6))
      const last = await shops[1].call("/products/mug", restock(5))
      assert.deepStrictEqual(await shops[1].list("products", last.body.position), [
        { sku: "mug", name: "Mug", price: 900, stock: 11 }
      ])
      const rows = await shops[1].list("orders", last.body.position)
      assert.deepStrictEqual(
        rows.map(({ id, status, total }) => [id, status, total]),
        orders.map((id, i) => [id, settled[i].status, settled[i].total]).sort()
      )
      assert.strictEqual(await shops[1].stop("SIGINT"), 0)
    })

    it("rebuilds the catalogue while customers order", async () => {
      await newDatabase()
      const former = await start({ RELEASE: "1" })
      await former.call("/products/mug", { _tag: "List", name: "Mug", price: 900 })
      for (const i of count(200)) await send([former], "/products/mug", restock(10), `restock ${i}`)
      // no process runs version 2 yet
      const early = await rebuildShop(env)
      assert.strictEqual(early.code, 1)
      assert.include(early.lines.join("\n"), "SubscriptionMismatch")

      const next = await start()
      const shops = [former, next]
      let isRebuilding = true
      const ordering = count(4).map(async (customer) => {
        const orders: Array<string> = []
        while (isRebuilding || orders.length < 5) {
          const order = `${customer} ${orders.length}`
          orders.push(order)
          const shop = shops[orders.length % 2]
          const { body } = await send([shop], `/orders/${order}`, { product: "mug", quantity: 2 }, order)
          // the list is there all the time, and shows what was written before
          const [row] = await shop.list("products", body.position)
          assert.deepInclude(row, { sku: "mug", price: 900 })
        }
        return orders
      })
      const rebuilt = await rebuildShop(env)
      isRebuilding = false
      assert.strictEqual(rebuilt.code, 0)
      const orders = (await Promise.all(ordering)).flat()
      // the processes of the former release end now
      assert.strictEqual(await former.stop(), 0)
      for (const order of orders) assert.deepInclude(await next.settled(order), { status: "confirmed", total: 1800 })

      const last = await next.call("/products/mug", restock(1))
      const sold = 2 * orders.length
      assert.deepStrictEqual(await next.list("products", last.body.position), [
        { sku: "mug", name: "Mug", price: 900, stock: 2001 - sold, sold }
      ])
    })
  })
}

describe("examples/shop", () => {
  // a machine of the tests need not have curl
  it.runIf(spawnSync("curl", ["--version"]).status === 0)("answers the requests of README.md as it says", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "shop-"))
    const env = { DATABASE_FILE: path.join(folder, "shop.db") }
    const shop = await startShop(env)
    try {
      const [, script] = /```sh\n(json=[\s\S]*?)```/.exec(fs.readFileSync(path.join(root, "README.md"), "utf8")) ?? []
      const commands = script.replaceAll("localhost:3000", `127.0.0.1:${shop.port}`).replaceAll("curl -i", "curl")
        .replaceAll("curl ", "curl --silent --write-out ' %{http_code}\\n' ")
      const printed = (await run("bash", ["-c", commands], folder)).trim().split("\n")
      assert.deepStrictEqual(printed.map((line) => line.slice(-4)), Array.from(printed, () => " 200"))
      assert.strictEqual(printed.length, 6)
      assert.strictEqual((await shop.settled("o-1")).status, "confirmed")
      const again = await shop.call("/products/mug", restock(5), { "idempotency-key": "k-1", "if-match": "\"1\"" })
      assert.deepInclude(again.body, { version: 2, duplicate: true })
    } finally {
      await shop.stop()
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })

  it("exports traces, metrics and logs to the collector that is configured", async () => {
    const received = new Map<string, string>()
    const collector = http.createServer((request, response) => {
      let text = ""
      request.on("data", (chunk) => text += String(chunk)).on("end", () => {
        const path = String(request.url)
        received.set(path, (received.get(path) ?? "") + text)
        response.end("{}")
      })
    })
    collector.listen(0, "127.0.0.1")
    await once(collector, "listening")
    const address = collector.address()
    const port = typeof address === "object" ? address?.port : undefined
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "shop-"))
    try {
      const shop = await startShop({
        DATABASE_FILE: path.join(folder, "shop.db"),
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`
      })
      await shop.call("/products/mug", { _tag: "List", name: "Mug", price: 900 })
      await shop.call("/orders/o-1", { product: "mug", quantity: 1 })
      await shop.settled("o-1")
      // what is left is sent when the layer closes
      assert.strictEqual(await shop.stop(), 0)
      const traces = received.get("/v1/traces") ?? ""
      for (const name of ["http.server POST", "Repository.execute", "\"shop\""]) assert.include(traces, name)
      assert.include(received.get("/v1/metrics") ?? "", "effect_eventsourcing_commands")
    } finally {
      collector.close()
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })
})
