import { Schema } from "effect"
import { Position, Projections } from "effect-eventsourcing"
import { once } from "node:events"
import * as fs from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { rebuildShop, type Shop, startShop } from "../utils/shop.js"

const mug = { _tag: "List", name: "Mug", price: 900 }
const restock = (quantity: number) => ({ _tag: "Restock", quantity })

/** Waits until a port takes no connections any more. */
const refused = async (port: number): Promise<void> => {
  for (let isOpen = true; isOpen;) {
    const socket = net.connect(port, "127.0.0.1")
    isOpen = await new Promise((resolve) => socket.on("connect", () => resolve(true)).on("error", () => resolve(false)))
    socket.destroy()
  }
}

// the tests of this file are one story
describe("examples/shop", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "shop-"))
  const env = { DATABASE_FILE: path.join(folder, "shop.db") }
  let shop: Shop
  beforeAll(async () => {
    shop = await startShop(env)
  })
  afterAll(async () => {
    await shop.stop("SIGKILL")
    fs.rmSync(folder, { recursive: true, force: true })
  })

  it("answers a command with its version as the entity tag", async () => {
    const listed = await shop.call("/products/mug", mug)
    assert.deepInclude(listed.body, { version: 1, duplicate: false })
    assert.strictEqual(listed.etag, "\"1\"")
    const shown = await shop.call("/products/mug")
    assert.deepStrictEqual(shown, { status: 200, etag: "\"1\"", body: { name: "Mug", price: 900, stock: 0 } })
  })

  it("answers a rejection with its status", async () => {
    assert.deepStrictEqual(await shop.call("/products/mug", mug), {
      status: 409,
      etag: null,
      body: { _tag: "AlreadyListed" }
    })
    assert.deepInclude(await shop.call("/products/cup", restock(1)), { status: 404, body: { _tag: "NotListed" } })
    assert.strictEqual((await shop.call("/products/cup")).status, 404)
  })

  it("refuses commands that are invalid, or not for the public", async () => {
    assert.strictEqual((await shop.call("/products/mug", restock(-1))).status, 400)
    assert.strictEqual((await shop.call("/products/mug", { _tag: "Reserve", order: "o", quantity: 1 })).status, 400)
    assert.strictEqual((await shop.call("/products/mug", restock(1), { "if-match": "1" })).status, 400)
    assert.strictEqual((await shop.call("/products?after=yesterday")).status, 400)
  })

  it("takes If-Match as the expected version, and Idempotency-Key as the id of the command", async () => {
    const headers = { "if-match": "\"1\"", "idempotency-key": "k-1" }
    const first = await shop.call("/products/mug", restock(5), headers)
    assert.deepInclude(first.body, { version: 2, duplicate: false })
    // the answer was lost: the client sends the same again
    const second = await shop.call("/products/mug", restock(5), headers)
    assert.deepStrictEqual(second, { ...first, body: { ...first.body, duplicate: true } })
    assert.deepStrictEqual(await shop.call("/products/mug", restock(5), { "if-match": "\"1\"" }), {
      status: 412,
      etag: null,
      body: { _tag: "Outdated", version: 2 }
    })
    assert.deepInclude((await shop.call("/products/mug")).body, { stock: 5 })
  })

  it("shows a client what it wrote", async () => {
    const { body } = await shop.call("/products/mug", { _tag: "SetPrice", price: 920 })
    const row = { sku: "mug", name: "Mug", price: 920, stock: 5 }
    assert.deepStrictEqual(await shop.list("products", body.position), [row])

    // the position of an event that comes later
    const { sequence, transaction } = Position.toParts(Schema.decodeUnknownSync(Position.Position)(body.position))
    let isAnswered = false
    const list = shop.list("products", Position.fromParts(transaction, BigInt(sequence) + 1n)).finally(() => {
      isAnswered = true
    })
    for (let i = 0; i < 5; i++) await shop.call("/status")
    assert.isFalse(isAnswered)
    await shop.call("/products/mug", { _tag: "SetPrice", price: 950 })
    assert.deepStrictEqual(await list, [{ ...row, price: 950 }])
  })

  it("confirms orders as long as there is stock", async () => {
    const order = { product: "mug", quantity: 3 }
    await shop.call("/orders/o-1", order)
    assert.deepInclude(await shop.settled("o-1"), { status: "confirmed", total: 2850 })
    await shop.call("/orders/o-2", order)
    assert.deepInclude(await shop.settled("o-2"), { status: "refused", total: 0 })
    assert.deepInclude(await shop.call("/orders/o-1", order), { status: 409, body: { _tag: "AlreadyPlaced" } })
  })

  it("describes itself", async () => {
    const spec = await shop.call("/openapi.json")
    assert.includeMembers(Object.keys(Object(spec.body.paths)), ["/products/{id}", "/orders", "/status"])
    const page = await fetch(`${shop.url}/docs`)
    assert.include(await page.text(), "swagger-ui")
  })

  it("ends on SIGTERM after the request in progress, and keeps all", async () => {
    const text = JSON.stringify(restock(7))
    const request = http.request(`${shop.url}/products/mug`, {
      method: "POST",
      headers: { "content-type": "application/json", "content-length": text.length, expect: "100-continue" }
    })
    request.flushHeaders()
    await once(request, "continue")
    const ended = shop.stop()
    await refused(shop.port)
    assert.isNull(shop.child.exitCode)
    request.end(text)
    const [response] = await once(request, "response")
    assert.strictEqual(response.statusCode, 200)
    response.resume()
    assert.strictEqual(await ended, 0)

    shop = await startShop(env)
    assert.deepInclude((await shop.call("/products/mug")).body, { stock: 9, price: 950 })
    const { body } = await shop.call("/products/mug", restock(1))
    assert.deepStrictEqual(await shop.list("products", body.position), [{
      sku: "mug",
      name: "Mug",
      price: 950,
      stock: 10
    }])
    const orders = await shop.list("orders")
    assert.deepStrictEqual(orders.map(({ status }) => status), ["confirmed", "refused"])
  })

  it("switches to version 2 of the catalogue", async () => {
    const { code, errors, lines } = await rebuildShop(env)
    assert.strictEqual(code, 0)
    assert.include(lines.join("\n"), "Version 2 of the catalogue is active")
    assert.match(errors, /Catalogue .* of \d+ events, (-|\d+) a second, .* left/)
    const { body } = await shop.call("/products/mug", restock(1))
    assert.deepStrictEqual(await shop.list("products", body.position), [
      { sku: "mug", name: "Mug", price: 950, stock: 11, sold: 3 }
    ])
    const status = await shop.call("/status")
    const versions = Schema.decodeUnknownSync(Schema.Array(Projections.Status))(Object.values(status.body))
    assert.sameDeepMembers(
      versions.map(({ active, members, name, partitions, version }) => [
        [name, version, active, members],
        partitions.map(({ owner, stopped }) => [owner._tag, stopped._tag])
      ]),
      [
        [["catalogue", 1, false, 1], [["Some", "None"]]],
        [["catalogue", 2, true, 1], [["Some", "None"]]],
        [["orders", 1, true, 1], [["Some", "None"]]],
        [["fulfilment", 1, true, 1], [["Some", "None"]]]
      ]
    )
  })
})
