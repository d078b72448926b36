// Customers who place orders over HTTP, one after another, and send an order again until it is acknowledged.
import { Clock, Effect, Ref } from "effect"

/** The requests of a part of the run. */
export interface Part {
  readonly name: string
  requests: number
  /** Answers other than 200, and requests without an answer. */
  failed: number
  slowest: number
  /** Kinds of failures. */
  readonly failures: Set<string>
}

export interface Order {
  readonly id: string
  readonly product: string
  acknowledged: boolean
}

export interface Load {
  readonly orders: ReadonlyArray<Order>
  /** Counts requests that begin from now on apart. */
  readonly begin: (name: string) => Effect.Effect<Part>
  /** Lets the customers finish the orders that they have begun. */
  readonly finish: Effect.Effect<void>
}

const send = (url: string, body: unknown, key: string) =>
  Effect.tryPromise(async () => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: JSON.stringify(body)
    })
    return { status: response.status, text: await response.text() }
  })

/** Sends a command until it is acknowledged. With its key it counts once. */
const untilAcknowledged = (url: string, body: unknown, key: string, part: Part): Effect.Effect<void> =>
  Effect.gen(function*() {
    const began = yield* Clock.currentTimeMillis
    const problem = yield* Effect.match(send(url, body, key), {
      onFailure: ({ error }) => error instanceof Error ? `${error.message}: ${String(error.cause)}` : String(error),
      onSuccess: ({ status, text }) => status === 200 ? undefined : `${status} ${text}`
    })
    const millis = (yield* Clock.currentTimeMillis) - began
    part.requests++
    part.slowest = Math.max(part.slowest, millis)
    if (problem === undefined) return
    part.failed++
    part.failures.add(problem)
    yield* Effect.sleep("100 millis")
    yield* untilAcknowledged(url, body, key, part)
  })

const products = Array.from({ length: 20 }, (_, i) => `product-${i}`)

/** Lists the products, with stock for 20,000 orders. */
const list = (url: string, part: Part) =>
  Effect.forEach(products, (product) =>
    Effect.gen(function*() {
      const at = `${url}/products/${product}`
      yield* untilAcknowledged(at, { _tag: "List", name: product, price: 100 }, `list ${product}`, part)
      yield* untilAcknowledged(at, { _tag: "Restock", quantity: 1000 }, `restock ${product}`, part)
    }), { concurrency: 4, discard: true })

/** Starts customers, who wait for a moment after each order. */
export const start = (
  url: string,
  { customers, pause }: { readonly customers: number; readonly pause: number }
) =>
  Effect.gen(function*() {
    const isFinishing = yield* Ref.make(false)
    const orders: Array<Order> = []
    const partOf = (name: string): Part => ({ name, requests: 0, failed: 0, slowest: 0, failures: new Set() })
    let part = partOf("start")
    yield* list(url, part)
    const shopping = yield* Effect.forEach(
      Array.from({ length: customers }, (_, customer) => customer),
      (customer) =>
        Effect.gen(function*() {
          for (let n = 0; !(yield* Ref.get(isFinishing)); n++) {
            const order = {
              id: `c${customer}-${n}`,
              product: products[(customer * 7 + n) % products.length],
              acknowledged: false
            }
            orders.push(order)
            yield* untilAcknowledged(
              `${url}/orders/${order.id}`,
              { product: order.product, quantity: 1 },
              order.id,
              part
            )
            order.acknowledged = true
            yield* Effect.sleep(pause)
          }
        }),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.forkScoped)
    const load: Load = {
      orders,
      begin: (name) => Effect.sync(() => part = partOf(name)),
      finish: Effect.zipRight(Ref.set(isFinishing, true), Effect.asVoid(shopping.await))
    }
    return load
  })
