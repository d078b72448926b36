import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import { liveClock } from "../../liveClock.js"
import { refusal } from "../failure.js"
import * as Turns from "../turns.js"

/**
 * Follows the transactions of a client. The client's tag of an open transaction stays in the context of a fiber that
 * outlives it, and says nothing of what became of the transaction: its end, and what nested transactions did to each
 * other, is read from the statements that begin and end them.
 *
 * @internal
 */
export type Transaction = Context.Tag.Service<typeof SqlClient.TransactionConnection>

interface Course {
  ended: boolean
  /** How often a part of the transaction was rolled back. */
  rollbacks: number
  /** Why it must not be committed: a nested transaction took back what another one had done, or does not end. */
  torn: string | undefined
  /** The last savepoint of each depth. */
  readonly savepoints: Map<number, Part>
}

/** A nested transaction. */
interface Part {
  readonly connection: Connection.Connection
  readonly depth: number
  readonly around: Part | undefined
}

const courses = new WeakMap<Connection.Connection, Course>()
const parts = new WeakMap<Transaction, Part>()
const followed = new WeakSet<object>()

// in which nested transaction a fiber is; one that is joined says nothing of the fiber that joins it
const innermost = FiberRef.unsafeMake<Part | undefined>(undefined, { join: (parent) => parent })

const partAt = (connection: Connection.Connection, depth: number): Part | undefined => {
  const fiber = Option.getOrUndefined(Fiber.getCurrentFiber())
  let part = fiber?.getFiberRef(innermost)
  while (part !== undefined && (part.depth !== depth || part.connection !== connection)) part = part.around
  return part
}

const courseOf = (connection: Connection.Connection): Course => {
  const found = courses.get(connection)
  if (found !== undefined) return found
  const made: Course = { ended: false, rollbacks: 0, torn: undefined, savepoints: new Map() }
  courses.set(connection, made)
  return made
}

/**
 * Follows all connections of the class of this one, from now on. A client has a class of its own for them.
 *
 * @internal
 */
export const follow = (connection: Connection.Connection): void => {
  const prototype: unknown = Object.getPrototypeOf(connection)
  if (!isConnectionClass(prototype) || followed.has(prototype)) return
  followed.add(prototype)
  const { executeUnprepared } = prototype
  Object.defineProperty(prototype, "executeUnprepared", {
    configurable: true,
    writable: true,
    value(this: Connection.Connection, ...args: Parameters<Connection.Connection["executeUnprepared"]>) {
      return bound(this, args[0], (statement) => Reflect.apply(executeUnprepared, this, [statement, args[1], args[2]]))
    }
  })
}

const isConnectionClass = (
  prototype: unknown
): prototype is { readonly executeUnprepared: Connection.Connection["executeUnprepared"] } =>
  typeof prototype === "object" && prototype !== null && prototype !== Object.prototype &&
  "executeUnprepared" in prototype && typeof prototype.executeUnprepared === "function"

/**
 * Runs a statement that begins or ends a transaction, or a part of one, between what other fibers do in savepoints of
 * ours, and notes it. A `COMMIT` of what was torn is a rollback that fails.
 *
 * @internal
 */
export const bound = <A>(
  connection: Connection.Connection,
  statement: string,
  execute: (statement: string) => Effect.Effect<A, SqlError>
): Effect.Effect<A, SqlError> => {
  if (!isBound.test(statement)) return execute(statement)
  const noted = Effect.suspend((): Effect.Effect<A, SqlError> => {
    const course = courseOf(connection)
    // by now the connection may carry the transaction of another caller
    if (course.ended && statement.includes("SAVEPOINT")) return refusal(endedMeanwhile, true)
    if (statement === "COMMIT" && course.torn !== undefined) {
      course.ended = true
      return Effect.zipRight(execute("ROLLBACK"), refusal(course.torn))
    }
    note(connection, course, statement)
    return statement.startsWith("SAVEPOINT")
      ? Effect.zipLeft(execute(statement), FiberRef.set(innermost, course.savepoints.get(depthOf(statement))))
      : execute(statement)
  })
  // before BEGIN no other fiber has the connection
  if (statement.startsWith("BEGIN")) return noted
  return Effect.flatMap(FiberRef.get(current), (open) => {
    if (open?.connection === connection && open.open) return noted
    const course = courseOf(connection)
    const next = afterOthers(connection, noted)
    return statement.includes("SAVEPOINT") ? next : afterOthers(course, next, () => course.torn ??= doesNotEnd)
  })
}

/** What takes too long does not keep a transaction from its end. */
const afterOthers = <A>(
  key: object,
  effect: Effect.Effect<A, SqlError>,
  inVain: () => void = () => {}
): Effect.Effect<A, SqlError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.matchEffect(turnsOf(key).take(restore), {
      onFailure: () => {
        inVain()
        return restore(effect)
      },
      onSuccess: () => Effect.ensuring(restore(effect), Effect.sync(turnsOf(key).give))
    })
  )

// the client's, and those of SqlStores.transaction; the savepoint of an append is inside a turn already
const isBound =
  /^(COMMIT$|ROLLBACK$|BEGIN|(SAVEPOINT|ROLLBACK TO SAVEPOINT|RELEASE SAVEPOINT) (effect_sql|eventsourcing)_\d)/

/** Our names end with the depth too. */
const depthOf = (statement: string): number => Number(/ (?:effect_sql|eventsourcing)_(\d+)/.exec(statement)?.[1])

const note = (connection: Connection.Connection, course: Course, statement: string): void => {
  const depth = depthOf(statement)
  if (statement.startsWith("SAVEPOINT")) {
    course.savepoints.set(depth, { connection, depth, around: partAt(connection, depth - 1) })
  } else if (statement.startsWith("ROLLBACK TO")) {
    course.rollbacks++
    const own = partAt(connection, depth)
    // the client gives savepoints of one depth the same name, and the last of them is meant
    if (own !== undefined && own !== course.savepoints.get(depth)) course.torn = sideBySide
  } else if (statement === "COMMIT" || statement === "ROLLBACK") {
    course.ended = true
  } else if (statement.startsWith("BEGIN")) {
    course.ended = false
    course.torn = undefined
    course.savepoints.clear()
  }
}

/**
 * The savepoint of ours in which a fiber is.
 *
 * @internal
 */
export const current = FiberRef.unsafeMake<
  { readonly connection: Connection.Connection; readonly open: boolean } | undefined
>(undefined)

/**
 * What the nested transactions of a transaction, and the appends beside them, take turns for.
 *
 * @internal
 */
export const turnOf = (transaction: Transaction): object => {
  const [connection, depth] = transaction
  return depth === 0 ? courseOf(connection) : partAt(connection, depth) ?? transaction
}

/**
 * Runs what has the same key one after the other: fibers that share a transaction must not roll back to each other's
 * savepoints.
 *
 * @internal
 */
export const inTurn = <A, E, R>(key: object, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      turnsOf(key).take(restore),
      () => Effect.ensuring(restore(effect), Effect.sync(turnsOf(key).give))
    )
  )

const turns = new WeakMap<object, Turns.Turns<SqlError>>()

const turnsOf = (key: object): Turns.Turns<SqlError> => {
  const found = turns.get(key)
  if (found !== undefined) return found
  const made = Turns.make(inTime)
  turns.set(key, made)
  return made
}

// a nested transaction may wait for the very fiber that waits for it
const inTime = (waiting: Effect.Effect<void>): Effect.Effect<void, SqlError> =>
  Effect.timeoutFail(Effect.interruptible(waiting), {
    duration: "5 seconds",
    onTimeout: () => refusal(doesNotEnd)
  }).pipe(Effect.withClock(liveClock))

/** @internal */
export const rollbacks = (connection: Connection.Connection): number => courseOf(connection).rollbacks

/**
 * Tells why nothing can be done in a transaction that a fiber carries, or gives `undefined`.
 *
 * @internal
 */
export const problem = (transaction: Transaction): string | undefined => {
  const [connection, depth] = transaction
  const course = courses.get(connection)
  if (course === undefined) return undefined
  if (course.ended) return ended
  if (course.torn !== undefined) return course.torn
  const last = course.savepoints.get(depth)
  if (last === undefined) return undefined
  const own = partAt(connection, depth) ?? parts.get(transaction) ?? last
  parts.set(transaction, own)
  return own === last ? undefined : sideBySide
}

/** @internal */
export const hasEnded = (connection: Connection.Connection): boolean => courseOf(connection).ended

/** @internal */
export const endedMeanwhile =
  "the transaction that this fiber carries ended meanwhile: what was done in it became of " +
  "it. A fiber that outlives its transaction must be forked outside of it"

const doesNotEnd = "a nested transaction of another fiber, inside the same one, does not end"

/** @internal */
export const ended = "the transaction that this fiber carries has ended; nothing was done. A fiber that outlives its " +
  "transaction must be forked outside of it"

/** @internal */
export const sideBySide = "two nested transactions run side by side in one transaction, and a rollback of one undoes " +
  "the other: run them one after the other"
