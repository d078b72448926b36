import type * as Connection from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { liveClock } from "../../liveClock.js"
import type * as EventLoop from "../eventLoop.js"
import { classify } from "../failure.js"
import * as Turns from "../turns.js"

/** A transaction, a nested transaction (a savepoint), or a reserved connection. */
export interface Level {
  readonly kind: "transaction" | "savepoint" | "reserved"
  readonly depth: number
  readonly savepoint: string
  readonly parent: Level | undefined
  /** The fibers inside run their statements on it. */
  readonly connection: Connection.Connection
  /** The statements inside, and the transactions nested in it, take turns. */
  readonly turns: Turns.Turns<SqlError>
  child: Level | undefined
  /** Its turn is taken for good: no statement runs inside any more. */
  quiet: boolean
  /** Why statements inside fail: SQLite has ended the transaction, or the level around it has ended. */
  dead: SqlError | undefined
  ended: boolean
}

export const innermost = (level: Level): Level => level.child === undefined ? level : innermost(level.child)

const outermost = (level: Level): Level => level.parent === undefined ? level : outermost(level.parent)

export const condemn = (level: Level | undefined, error: SqlError): void => {
  for (let each = level; each !== undefined; each = each.child) each.dead ??= error
}

/** Lets all fibers through that wait for a level or for those inside it. */
export const finish = (level: Level): void => {
  for (let each: Level | undefined = level; each !== undefined; each = each.child) each.turns.finish()
}

export const condemnAll = (level: Level, error: SqlError): void => condemn(outermost(level), error)

let savepoints = 0

export const make = (kind: Level["kind"], options: {
  readonly raw: Connection.Connection
  /** The connection of the level around it, or the one that all fibers share. */
  readonly around: Connection.Connection
  readonly parent?: Level | undefined
  readonly eventLoop: EventLoop.EventLoop["Type"]
}): Level => {
  const { around, eventLoop, parent, raw } = options
  const onTurn = <A>(on: (connection: Connection.Connection) => Effect.Effect<A, SqlError>) =>
    level.turns.run(Effect.suspend((): Effect.Effect<A, SqlError | typeof passedOn> => {
      if (level.ended) return Effect.fail(passedOn)
      if (level.dead !== undefined) return level.dead
      const statement = attempt(() => on(raw))
      return kind === "reserved" ? statement : Effect.tapError(statement, (error) => lookAfter(raw, level, error))
    }))
  const level: Level = {
    kind,
    depth: parent === undefined ? 0 : parent.depth + 1,
    // a name is never given twice: a fiber that comes too late does not find the savepoint of another
    savepoint: `effect_sql_${++savepoints}`,
    parent,
    turns: Turns.make(inTime, eventLoop),
    // a fiber that outlives the level goes on in the level around it, at last on a turn of its own
    connection: connectionOn(raw, (text, on) =>
      Effect.suspend(() => {
        if (level.ended) return on(around)
        if (kind !== "reserved" && endsTransaction.test(text)) return refused(text)
        return Effect.catchAll(onTurn(on), (error) => error === passedOn ? on(around) : Effect.fail(error))
      })),
    child: undefined,
    quiet: false,
    dead: undefined,
    ended: false
  }
  return level
}

// not an object: the runtime wraps those
const passedOn = Symbol("the level has ended")

const inTime = (waiting: Effect.Effect<void>): Effect.Effect<void, SqlError> =>
  Effect.timeoutFail(waiting, {
    duration: "5 seconds",
    onTimeout: () => failure("SQLITE_ABORT", "a nested transaction of another fiber, inside the same one, does not end")
  }).pipe(Effect.withClock(liveClock))

/**
 * Finds out whether a failed statement ended the transaction. Usually SQLite undoes the statement alone. If memory, the disk
 * or the file fails, it rolls back the whole transaction, and the next statement would be committed alone. A BEGIN fails
 * while a transaction is open.
 */
export const lookAfter = (raw: Connection.Connection, level: Level, error: SqlError): Effect.Effect<void> =>
  Effect.matchEffect(command(raw, "BEGIN"), {
    onFailure: ({ cause }) =>
      Effect.sync(() => {
        if (!(cause instanceof Error && cause.message.includes("within a transaction"))) rolledBack(level, error)
      }),
    onSuccess: () => {
      rolledBack(level, error)
      return Effect.ignore(command(raw, "ROLLBACK"))
    }
  })

const rolledBack = (level: Level, error: SqlError): void => {
  const detail = `SQLite rolled back the whole transaction when a statement in it failed: ${classify(error).detail}`
  condemnAll(level, failure("SQLITE_ABORT_ROLLBACK", detail, error))
}

export const failure = (
  code: "SQLITE_ABORT" | "SQLITE_ABORT_ROLLBACK" | "SQLITE_MISUSE",
  message: string,
  cause?: SqlError
): SqlError =>
  new SqlError({ cause: Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code }), message })

/** Runs a statement when it is its turn. */
export interface On {
  <A>(text: string, on: (connection: Connection.Connection) => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError>
}

export const connectionOn = (raw: Connection.Connection, on: On): Connection.Connection => ({
  execute: (text, params, transform) => on(text, (connection) => connection.execute(text, params, transform)),
  executeRaw: (text, params) => on(text, (connection) => connection.executeRaw(text, params)),
  executeValues: (text, params) => on(text, (connection) => connection.executeValues(text, params)),
  executeUnprepared: (text, params, transform) =>
    on(text, (connection) => connection.executeUnprepared(text, params, transform)),
  executeStream: raw.executeStream
})

/** Runs a statement. The driver throws for an unprepared text that does not compile, and for a closed database. */
export const attempt = <A>(run: () => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> => {
  try {
    return run()
  } catch (cause) {
    return new SqlError({ cause, message: "Failed to prepare statement" })
  }
}

export const command = (raw: Connection.Connection, text: string): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => Effect.asVoid(attempt(() => raw.executeUnprepared(text, [], undefined))))

const endsTransaction = /^\s*(?:BEGIN|COMMIT|END|ROLLBACK(?!\s+(?:TRANSACTION\s+)?TO\b))\b/i

export const startsTransaction = /^\s*(?:BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE)\b/i

export const refused = (text: string): SqlError =>
  failure(
    "SQLITE_MISUSE",
    `${text} would begin or end a transaction of other fibers too: use the client's withTransaction`
  )
