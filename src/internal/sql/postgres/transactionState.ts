// Knows the state of each transaction on PostgreSQL. A fiber that outlives a transaction keeps the client's tag of it, which
// does not say whether the transaction has ended. So the statements that begin and end transactions, and parts of them,
// are read on their way to the server. Other statements cost nothing.
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import { liveClock } from "../../liveClock.js"
import { byKey } from "../byKey.js"
import { refusal } from "../failure.js"
import * as Turns from "../turns.js"

/** An open transaction as a fiber carries it: its connection, and how deep it is nested. */
export type Transaction = Context.Tag.Service<typeof SqlClient.TransactionConnection>

interface State {
  ended: boolean
  /** How often a nested transaction was rolled back. */
  rollbacks: number
  /** Why it must not be committed: a nested transaction undid the work of another one, or does not end. */
  broken: string | undefined
  /** The last nested transaction of each depth. */
  readonly nested: Map<number, Nested>
}

interface Nested {
  readonly connection: Connection.Connection
  readonly depth: number
  readonly around: Nested | undefined
}

const stateOf = byKey((_: Connection.Connection): State => ({
  ended: false,
  rollbacks: 0,
  broken: undefined,
  nested: new Map()
}))
const firstSeen = new WeakMap<Transaction, Nested>()
const followed = new WeakSet<object>()

// the nested transaction that a fiber is in; a fiber that is joined does not change that of the fiber that joins it
const innermost = FiberRef.unsafeMake<Nested | undefined>(undefined, { join: (parent) => parent })

const nestedAt = (connection: Connection.Connection, depth: number): Nested | undefined => {
  const fiber = Option.getOrUndefined(Fiber.getCurrentFiber())
  let nested = fiber?.getFiberRef(innermost)
  while (nested !== undefined && (nested.depth !== depth || nested.connection !== connection)) nested = nested.around
  return nested
}

/** Follows the transactions on all connections of this one's class, which belongs to one client. */
export const follow = (connection: Connection.Connection): void => {
  const prototype: unknown = Object.getPrototypeOf(connection)
  if (!isConnectionClass(prototype) || followed.has(prototype)) return
  followed.add(prototype)
  const { executeUnprepared } = prototype
  Object.defineProperty(prototype, "executeUnprepared", {
    configurable: true,
    writable: true,
    value(this: Connection.Connection, ...args: Parameters<Connection.Connection["executeUnprepared"]>) {
      return runBoundary(
        this,
        args[0],
        (statement) => Reflect.apply(executeUnprepared, this, [statement, args[1], args[2]])
      )
    }
  })
}

const isConnectionClass = (
  prototype: unknown
): prototype is { readonly executeUnprepared: Connection.Connection["executeUnprepared"] } =>
  typeof prototype === "object" && prototype !== null && prototype !== Object.prototype &&
  "executeUnprepared" in prototype && typeof prototype.executeUnprepared === "function"

/**
 * Runs a statement. If it begins or ends a transaction or a nested one, it waits for other fibers that are in savepoints of
 * ours, and is noted. A `COMMIT` of a broken transaction becomes a rollback, and fails.
 */
export const runBoundary = <A>(
  connection: Connection.Connection,
  statement: string,
  execute: (statement: string) => Effect.Effect<A, SqlError>
): Effect.Effect<A, SqlError> => {
  if (!isBoundary.test(statement)) return execute(statement)
  const noted = Effect.suspend((): Effect.Effect<A, SqlError> => {
    const state = stateOf(connection)
    // by now the connection may carry the transaction of another caller
    if (state.ended && statement.includes("SAVEPOINT")) return refusal(endedMeanwhile, true)
    if (statement === "COMMIT" && state.broken !== undefined) {
      state.ended = true
      return Effect.zipRight(execute("ROLLBACK"), refusal(state.broken))
    }
    note(connection, state, statement)
    return statement.startsWith("SAVEPOINT")
      ? Effect.zipLeft(execute(statement), FiberRef.set(innermost, state.nested.get(depthOf(statement))))
      : execute(statement)
  })
  // before BEGIN no other fiber has the connection
  if (statement.startsWith("BEGIN")) return noted
  return Effect.flatMap(FiberRef.get(current), (open) => {
    if (open?.connection === connection && open.open) return noted
    const state = stateOf(connection)
    const next = afterOthers(connection, noted)
    return statement.includes("SAVEPOINT") ? next : afterOthers(state, next, () => state.broken ??= doesNotEnd)
  })
}

/** A fiber that takes too long does not keep a transaction from its end. */
const afterOthers = <A>(
  key: object,
  effect: Effect.Effect<A, SqlError>,
  onTimeout: () => void = () => {}
): Effect.Effect<A, SqlError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.matchEffect(turnsOf(key).take(restore), {
      onFailure: () => {
        onTimeout()
        return restore(effect)
      },
      onSuccess: () => Effect.ensuring(restore(effect), Effect.sync(turnsOf(key).give))
    })
  )

// those of the client and of SqlStores.transaction; the savepoint of an append has its turn already
const isBoundary =
  /^(COMMIT$|ROLLBACK$|BEGIN|(SAVEPOINT|ROLLBACK TO SAVEPOINT|RELEASE SAVEPOINT) (effect_sql|eventsourcing)_\d)/

/** The names of our savepoints end with the depth, as the client's do. */
const depthOf = (statement: string): number => Number(/ (?:effect_sql|eventsourcing)_(\d+)/.exec(statement)?.[1])

const note = (connection: Connection.Connection, state: State, statement: string): void => {
  const depth = depthOf(statement)
  if (statement.startsWith("SAVEPOINT")) {
    state.nested.set(depth, { connection, depth, around: nestedAt(connection, depth - 1) })
  } else if (statement.startsWith("ROLLBACK TO")) {
    state.rollbacks++
    const own = nestedAt(connection, depth)
    // the client gives savepoints of one depth the same name, and the last of them is meant
    if (own !== undefined && own !== state.nested.get(depth)) state.broken = sideBySide
  } else if (statement === "COMMIT" || statement === "ROLLBACK") {
    state.ended = true
  } else if (statement.startsWith("BEGIN")) {
    state.ended = false
    state.broken = undefined
    state.nested.clear()
  }
}

/** The savepoint of ours in which a fiber is. */
export const current = FiberRef.unsafeMake<
  { readonly connection: Connection.Connection; readonly open: boolean } | undefined
>(undefined)

/** The key by which the nested transactions of a transaction, and the appends beside them, take turns. */
export const turnOf = (transaction: Transaction): object => {
  const [connection, depth] = transaction
  return depth === 0 ? stateOf(connection) : nestedAt(connection, depth) ?? transaction
}

/** Runs effects with the same key one after the other. */
export const inTurn = <A, E, R>(key: object, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Turns.around(turnsOf(key), effect)

const turnsOf = byKey(() => Turns.make(inTime))

// a nested transaction may wait for the very fiber that waits for it
const inTime = (waiting: Effect.Effect<void>): Effect.Effect<void, SqlError> =>
  Effect.timeoutFail(Effect.interruptible(waiting), {
    duration: "5 seconds",
    onTimeout: () => refusal(doesNotEnd)
  }).pipe(Effect.withClock(liveClock))

export const rollbacks = (connection: Connection.Connection): number => stateOf(connection).rollbacks

/** Says why statements cannot run in the transaction that a fiber carries, or gives `undefined`. */
export const problem = (transaction: Transaction): string | undefined => {
  const [connection, depth] = transaction
  const state = stateOf(connection)
  if (state.ended) return ended
  if (state.broken !== undefined) return state.broken
  const last = state.nested.get(depth)
  if (last === undefined) return undefined
  const own = nestedAt(connection, depth) ?? firstSeen.get(transaction) ?? last
  firstSeen.set(transaction, own)
  return own === last ? undefined : sideBySide
}

export const hasEnded = (connection: Connection.Connection): boolean => stateOf(connection).ended

export const endedMeanwhile = "the transaction that this fiber carries ended meanwhile: its work was committed " +
  "or rolled back with it. A fiber that outlives its transaction must be forked outside of it"

const doesNotEnd = "a nested transaction of another fiber, inside the same one, does not end"

export const ended = "the transaction that this fiber carries has ended; nothing was done. A fiber that outlives its " +
  "transaction must be forked outside of it"

export const sideBySide = "two nested transactions run side by side in one transaction, and a rollback of one undoes " +
  "the other: run them one after the other"
