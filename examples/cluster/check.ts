// Checks what is stored against what the customers were told.
import { SqlClient } from "@effect/sql"
import { Effect, Schedule, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import type { Order } from "./load.js"

interface Stored {
  /** The types of the events of each order. */
  readonly orders: Map<string, Array<string>>
  /** How often the products answered each order. */
  readonly answers: Map<string, number>
  readonly gaps: Array<string>
}

const read = Effect.gen(function*() {
  const store = yield* EventStore.EventStore
  const stored: Stored = { orders: new Map(), answers: new Map(), gaps: [] }
  const versions = new Map<string, number>()
  yield* Stream.runForEach(
    store.readAll(),
    ({ payload, stream: { aggregate, id }, type, version }) =>
      Effect.sync(() => {
        const key = `${aggregate} ${id}`
        if (version !== (versions.get(key) ?? 0) + 1) stored.gaps.push(`${key} has a gap before version ${version}`)
        versions.set(key, version)
        if (aggregate === "Order") {
          stored.orders.set(id, [...stored.orders.get(id) ?? [], type])
        } else if (type === "Reserved" || type === "OutOfStock") {
          const { order } = Object(payload)
          stored.answers.set(order, (stored.answers.get(order) ?? 0) + 1)
        }
      })
  )
  return stored
})

const isSettled = (types: ReadonlyArray<string>) => types.length > 1

/** Tries for a minute: the process manager and the read model may be behind. */
const patiently = Schedule.intersect(Schedule.spaced("500 millis"), Schedule.recurs(120))

const problemsOf = ({ answers, gaps, orders }: Stored, placed: ReadonlyArray<Order>) => {
  const problems = [...gaps]
  for (const { acknowledged, id } of placed) {
    if (acknowledged && !orders.has(id)) problems.push(`order ${id} was acknowledged, and is lost`)
  }
  for (const [id, types] of orders) {
    const [first, second, ...more] = types
    if (first !== "Placed" || (second !== "Confirmed" && second !== "Refused") || more.length > 0) {
      problems.push(`order ${id} is not placed once and settled once: ${types.join(", ")}`)
    }
    if (answers.get(id) !== 1) problems.push(`order ${id} was answered ${answers.get(id) ?? 0} times by its product`)
  }
  return problems
}

/** The list of orders, which must show each order as it is. */
const differences = (orders: Stored["orders"]) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ readonly id: string; readonly status: string }>`SELECT id, status FROM order_list`
    const shown = new Map(rows.map(({ id, status }) => [id, status]))
    const wrong = Array.from(orders).filter(([id, types]) => shown.get(id) !== types.at(-1)?.toLowerCase())
    return [
      ...(rows.length === orders.size ? [] : [`the list shows ${rows.length} of ${orders.size} orders`]),
      ...wrong.map(([id]) => `the list shows order ${id} as ${shown.get(id)}`)
    ]
  })

/** Gives the problems that it finds: each acknowledged order must stand once, and be settled once. */
export const check = (placed: ReadonlyArray<Order>) =>
  Effect.gen(function*() {
    const stored = yield* Effect.repeat(read, {
      until: ({ orders }) => Array.from(orders.values()).every(isSettled),
      schedule: patiently
    }).pipe(Effect.zipRight(read))
    const listed = yield* Effect.repeat(differences(stored.orders), {
      until: (problems) => problems.length === 0,
      schedule: patiently
    }).pipe(Effect.zipRight(differences(stored.orders)))
    return [...problemsOf(stored, placed), ...listed]
  })
