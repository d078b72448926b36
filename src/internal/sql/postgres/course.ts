import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type * as Context from "effect/Context"

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
  /** The client's last savepoint of each depth, and the nested transaction that was the first to work in it. */
  readonly savepoints: Map<number, { owner: Transaction | undefined }>
}

const courses = new WeakMap<Connection.Connection, Course>()
const claims = new WeakMap<Transaction, { owner: Transaction | undefined }>()
const followed = new WeakSet<object>()

const courseOf = (connection: Connection.Connection): Course => {
  const found = courses.get(connection)
  if (found !== undefined) return found
  const made: Course = { ended: false, rollbacks: 0, savepoints: new Map() }
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
      note(this, args[0])
      return Reflect.apply(executeUnprepared, this, args)
    }
  })
}

const isConnectionClass = (
  prototype: unknown
): prototype is { readonly executeUnprepared: Connection.Connection["executeUnprepared"] } =>
  typeof prototype === "object" && prototype !== null && prototype !== Object.prototype &&
  "executeUnprepared" in prototype && typeof prototype.executeUnprepared === "function"

/**
 * Notes a statement that begins or ends a transaction, or a part of one.
 *
 * @internal
 */
export const note = (connection: Connection.Connection, statement: string): void => {
  const course = courseOf(connection)
  const savepoint = clientSavepoint.exec(statement)
  if (savepoint !== null) {
    course.savepoints.set(Number(savepoint[1]), { owner: undefined })
  } else if (statement.startsWith("ROLLBACK TO")) {
    course.rollbacks++
  } else if (statement === "COMMIT" || statement === "ROLLBACK") {
    course.ended = true
  } else if (statement.startsWith("BEGIN")) {
    course.ended = false
    course.savepoints.clear()
  }
}

const clientSavepoint = /^SAVEPOINT effect_sql_(\d+)$/

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
  const current = course.savepoints.get(depth)
  if (current === undefined) return undefined
  const claimed = claims.get(transaction)
  if (claimed === undefined && current.owner === undefined) {
    current.owner = transaction
    claims.set(transaction, current)
    return undefined
  }
  return claimed === current ? undefined : sideBySide
}

/** @internal */
export const ended = "the transaction that this fiber carries has ended; nothing was done. A fiber that outlives its " +
  "transaction must be forked outside of it"

/** @internal */
export const sideBySide = "two nested transactions run side by side in one transaction, and a rollback of one undoes " +
  "the other: run them one after the other"
