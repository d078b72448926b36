import type * as Connection from "@effect/sql/SqlConnection"
import { type SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { classify, refusal } from "../failure.js"
import { pgText } from "./text.js"
import * as TransactionState from "./transactionState.js"

/** How an effect in a savepoint ended. */
export interface Outcome<out A, out E> {
  readonly exit: Exit.Exit<A, E>
  /** Why the transaction around the savepoint cannot go on, or is not as it was before. */
  readonly lost: SqlError | undefined
}

/** How long a statement in a savepoint waits for a lock: a wait inside a transaction must end by itself. */
export type Waiting = "long" | "short"

/** Runs an effect in a savepoint: a failure or an interruption undoes the effect alone. */
export const run = <A, E>(
  effect: Effect.Effect<A, E>,
  transaction: TransactionState.Transaction,
  waiting: Waiting
): Effect.Effect<Outcome<A, E | SqlError>> =>
  Effect.flatMap(FiberRef.get(TransactionState.current), (outer): Effect.Effect<Outcome<A, E | SqlError>> => {
    const [connection] = transaction
    // an open savepoint is enough
    if (outer !== undefined && outer.connection === connection && outer.open) {
      return Effect.map(Effect.exit(effect), kept)
    }
    const mine = { connection, open: true }
    const within = Effect.ensuring(
      Effect.locally(effect, TransactionState.current, mine),
      Effect.sync(() => mine.open = false)
    )
    const outcome = alone(
      transaction,
      TransactionState.inTurn(
        connection,
        Effect.uninterruptibleMask((restore) =>
          Effect.suspend(() => {
            const problem = TransactionState.problem(transaction)
            if (problem !== undefined) return Effect.succeed(failed(refusal(problem)))
            const before = TransactionState.rollbacks(connection)
            return Effect.matchEffect(execute(connection, begin[waiting]), {
              onFailure: (error) => Effect.succeed(failed(explained(error))),
              onSuccess: () =>
                Effect.flatMap(
                  Effect.exit(restore(within)),
                  (exit) => Exit.isSuccess(exit) ? release(transaction, exit, before) : undo(transaction, exit)
                )
            })
          })
        )
      )
    )
    return Effect.catchAll(outcome, (error) => Effect.succeed(failed(error)))
  })

const kept = <A, E>(exit: Exit.Exit<A, E>): Outcome<A, E> => ({ exit, lost: undefined })

const failed = (error: SqlError): Outcome<never, SqlError> => ({ exit: Exit.fail(error), lost: error })

const execute = (connection: Connection.Connection, statements: string) =>
  Effect.suspend(() => connection.executeUnprepared(statements, [], undefined))

const release = <A, E>(
  transaction: TransactionState.Transaction,
  exit: Exit.Exit<A, E>,
  before: number
): Effect.Effect<Outcome<A, E | SqlError>> => {
  const [connection] = transaction
  if (TransactionState.hasEnded(connection)) {
    return Effect.succeed(failed(refusal(TransactionState.endedMeanwhile, true)))
  }
  return Effect.matchEffect(execute(connection, end), {
    // the effect may have caught the failure of a statement
    onFailure: (error) => undo(transaction, Exit.fail(explained(error))),
    onSuccess: () => {
      const problem = TransactionState.problem(transaction) ??
        (TransactionState.rollbacks(connection) === before ? undefined : TransactionState.sideBySide)
      return Effect.succeed(problem === undefined ? kept(exit) : failed(refusal(problem, true)))
    }
  })
}

const undo = <A, E>(transaction: TransactionState.Transaction, exit: Exit.Exit<A, E>): Effect.Effect<Outcome<A, E>> =>
  // the connection may be in another transaction by now
  TransactionState.hasEnded(transaction[0]) ?
    Effect.succeed({ exit, lost: refusal(TransactionState.endedMeanwhile) }) :
    Effect.match(
      // a cancel request for the statement before may have come late, and hit this one
      Effect.retry(execute(transaction[0], back), { times: 3, while: (error) => classify(error).kind === "Cancelled" }),
      {
        onFailure: (error) => ({ exit, lost: explained(error) }),
        onSuccess: () => kept(exit)
      }
    )

export const explained = (error: SqlError): SqlError => {
  switch (classify(error).code) {
    case "3B001": // there is no such savepoint
      return refusal(TransactionState.sideBySide, false, error)
    case "25P01": // there is no transaction
      return refusal(TransactionState.ended, false, error)
    case "25P02":
      return refusal(
        "a statement failed before in this transaction, which PostgreSQL has aborted: it can only be rolled back",
        false,
        error
      )
    default:
      return error
  }
}

/** Runs an effect alone in its transaction: fibers that share one must not roll back each other's savepoints. */
export const alone = <A, E, R>(
  transaction: TransactionState.Transaction,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(FiberRef.get(TransactionState.current), (open): Effect.Effect<A, E | SqlError, R> =>
    // inside a savepoint the fiber has its turn already
    open?.connection === transaction[0] && open.open
      ? effect
      : TransactionState.inTurn(TransactionState.turnOf(transaction), effect))

const millis = (setting: string): string => `extract(epoch FROM current_setting('${setting}')::interval) * 1000`

const set = (setting: string, value: string): string => pgText(`set_config('${setting}', ${value}, true)`, "text")

// Keeps the caller's setting in one of our own, as the end of a savepoint does not restore it. Zero means no limit
const beginWith = (limit: string): string =>
  `SAVEPOINT eventsourcing; SELECT ${set("eventsourcing.lock_timeout", "current_setting('lock_timeout')")}, ${
    set("lock_timeout", `ceil(least(nullif(${millis("lock_timeout")}, 0), ${limit}))::text`)
  }`

// A wait for a lock may complete a deadlock. The server then ends the transaction that has waited for deadlock_timeout, which
// is nearly always another one, perhaps in an append. So a short wait gives up before
const begin: Record<Waiting, string> = {
  long: beginWith("2000"),
  short: beginWith(`${millis("deadlock_timeout")} / 50`)
}

// the release comes first: it fails if the savepoint, and with it the setting, is gone
const end = `RELEASE SAVEPOINT eventsourcing; SELECT ${
  set("lock_timeout", "current_setting('eventsourcing.lock_timeout')")
}`

const back = "ROLLBACK TO SAVEPOINT eventsourcing; RELEASE SAVEPOINT eventsourcing"
