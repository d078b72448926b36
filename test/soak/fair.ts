import { SqlClient } from "@effect/sql"
import { Effect, Exit, Fiber, type Layer, Option } from "effect"
import { type EventStore, Repository, SnapshotPolicy, type SnapshotStore } from "effect-eventsourcing"
import { Account, id } from "../fixtures/Account.js"

type Services = EventStore.EventStore | SnapshotStore.SnapshotStore | SqlClient.SqlClient

const open = { _tag: "Open" } as const
const deposit = { _tag: "Deposit", amount: 1 } as const

/**
 * A crowd of transactions of one fiber, then a command in a transaction from each of four others, then as large a crowd
 * once more, and the first crowd goes on as long as it is not over. Gives how many of those that came later were served
 * before the last of the four.
 */
export const overtaken = <E>(
  layer: Layer.Layer<Services, E>,
  { crowd }: { readonly crowd: number }
): Effect.Effect<number, unknown> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const accounts = yield* Repository.make(Account)
    const names = ["a", "b", "c", "d"]
    yield* Effect.forEach([...names, "crowd"], (name) => accounts.execute(id(name), open))
    const one = (name: string) => sql.withTransaction(accounts.execute(id(name), deposit))
    let later = 0
    // whoever holds the connection lets all the others come first
    const gate = yield* Effect.makeLatch(false)
    const holds = yield* Effect.makeLatch(false)
    const holder = yield* Effect.fork(sql.withTransaction(Effect.zipRight(holds.open, gate.await)))
    yield* holds.await
    const first = yield* Effect.fork(
      Effect.forEach(
        Array.from({ length: crowd }),
        () => Effect.zipRight(one("crowd"), Effect.map(one("crowd"), () => later++)),
        { concurrency: "unbounded", discard: true }
      )
    )
    yield* Effect.yieldNow()
    const four = yield* Effect.fork(Effect.forEach(names, one, { concurrency: "unbounded", discard: true }))
    yield* Effect.yieldNow()
    const second = yield* Effect.fork(
      Effect.forEach(Array.from({ length: crowd }), () => Effect.map(one("crowd"), () => later++), {
        concurrency: "unbounded",
        discard: true
      })
    )
    yield* Effect.yieldNow()
    yield* gate.open
    yield* Fiber.join(four)
    const counted = later
    yield* Fiber.joinAll([holder, first, second])
    return counted
  }).pipe(Effect.scoped, Effect.provide(layer))

/**
 * Many commands at once. Gives the most that were done between two turns of the event loop: in
 * commands, as milliseconds say more of the machine.
 */
export const holding = <E>(
  layer: Layer.Layer<Services, E>,
  { commands }: { readonly commands: number }
): Effect.Effect<{ readonly most: number; readonly done: number }, unknown> =>
  Effect.gen(function*() {
    const accounts = yield* Repository.make(Account)
    let done = 0
    let before = 0
    let most = 0
    let going = true
    const turn = () => {
      most = Math.max(most, done - before)
      before = done
      if (going) setImmediate(turn)
    }
    setImmediate(turn)
    yield* Effect.forEach(
      Array.from({ length: commands }, (_, n) => n),
      (n) => Effect.map(accounts.execute(id(String(n)), open), () => done++),
      { concurrency: "unbounded", discard: true }
    )
    yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
    going = false
    turn()
    return { most, done }
  }).pipe(Effect.scoped, Effect.provide(layer))

/**
 * A transaction that waits for the write lock of another process, and loads beside it. Gives whether the loads were done
 * while the lock was still held, and whether the transaction let go of a caller who waited no longer.
 */
export const besideLock = <E>(
  layer: Layer.Layer<Services, E>,
  lock: { readonly take: () => void; readonly release: () => void }
): Effect.Effect<{ readonly loads: boolean; readonly letGo: boolean; readonly kept: boolean }, unknown> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.inline({ every: 1 }) })
    yield* accounts.execute(id("a"), open)
    yield* Effect.sync(lock.take)
    const held = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.map(Effect.timeoutOption(Effect.disconnect(effect), "2 seconds"), Option.isSome)
    const waiting = yield* Effect.fork(sql.withTransaction(accounts.execute(id("a"), deposit)))
    const inline = yield* Effect.fork(accounts.execute(id("b"), open))
    yield* Effect.sleep("20 millis")
    const loads = yield* held(accounts.load(id("a")))
    const letGo = yield* held(Effect.timeoutOption(sql.withTransaction(accounts.execute(id("c"), open)), "10 millis"))
    yield* Effect.sync(lock.release)
    const kept = yield* Effect.all([Fiber.await(waiting), Fiber.await(inline)])
    return { loads, letGo, kept: kept.every(Exit.isSuccess) }
  }).pipe(Effect.scoped, Effect.provide(layer))
