import type * as Connection from "@effect/sql/SqlConnection"
import { type SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { classify, refusal } from "./failure.js"
import * as Course from "./postgres/course.js"
import { pgText } from "./postgres/text.js"

/**
 * How something ended that ran in a savepoint.
 *
 * @internal
 */
export interface Outcome<out A, out E> {
  readonly exit: Exit.Exit<A, E>
  /** Why the transaction around the savepoint cannot go on, or may not be taken for what it was. */
  readonly lost: SqlError | undefined
}

/**
 * How long a statement in a savepoint waits for a lock. What waits in a transaction must end by itself.
 *
 * @internal
 */
export type Waiting = "long" | "short"

/**
 * Runs an effect in a savepoint of a PostgreSQL transaction, where a failed statement aborts all of the transaction: a
 * failure, and an interruption, take back what the effect did and nothing else.
 *
 * @internal
 */
export const run = <A, E>(
  effect: Effect.Effect<A, E>,
  transaction: Course.Transaction,
  waiting: Waiting
): Effect.Effect<Outcome<A, E | SqlError>> =>
  Effect.flatMap(FiberRef.get(Course.current), (outer): Effect.Effect<Outcome<A, E | SqlError>> => {
    const [connection] = transaction
    // one that is open already is enough
    if (outer !== undefined && outer.connection === connection && outer.open) {
      return Effect.map(Effect.exit(effect), kept)
    }
    const mine = { connection, open: true }
    const within = Effect.ensuring(Effect.locally(effect, Course.current, mine), Effect.sync(() => mine.open = false))
    const outcome = alone(
      transaction,
      Course.inTurn(
        connection,
        Effect.uninterruptibleMask((restore) =>
          Effect.suspend(() => {
            const problem = Course.problem(transaction)
            if (problem !== undefined) return Effect.succeed(failed(refusal(problem)))
            const before = Course.rollbacks(connection)
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
  transaction: Course.Transaction,
  exit: Exit.Exit<A, E>,
  before: number
): Effect.Effect<Outcome<A, E | SqlError>> => {
  const [connection] = transaction
  if (Course.hasEnded(connection)) return Effect.succeed(failed(refusal(Course.endedMeanwhile, true)))
  return Effect.matchEffect(execute(connection, end), {
    // an effect may have kept to itself that a statement of it failed
    onFailure: (error) => undo(transaction, Exit.fail(explained(error))),
    onSuccess: () => {
      const problem = Course.problem(transaction) ??
        (Course.rollbacks(connection) === before ? undefined : Course.sideBySide)
      return Effect.succeed(problem === undefined ? kept(exit) : failed(refusal(problem, true)))
    }
  })
}

const undo = <A, E>(
  transaction: Course.Transaction,
  exit: Exit.Exit<A, E>
): Effect.Effect<Outcome<A, E>> =>
  // what would be taken back belongs to another transaction by now
  Course.hasEnded(transaction[0]) ? Effect.succeed({ exit, lost: refusal(Course.endedMeanwhile) }) : Effect.match(
    // what cancelled the statement on the server may have come too late for that, and in time for this one
    Effect.retry(execute(transaction[0], back), { times: 3, while: (error) => classify(error).kind === "Cancelled" }),
    {
      onFailure: (error) => ({ exit, lost: explained(error) }),
      onSuccess: () => kept(exit)
    }
  )

/** @internal */
export const explained = (error: SqlError): SqlError => {
  switch (classify(error).code) {
    case "3B001": // there is no such savepoint
      return refusal(Course.sideBySide, false, error)
    case "25P01": // there is no transaction
      return refusal(Course.ended, false, error)
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

/**
 * Runs what opens a savepoint alone in its transaction: fibers that share one must not roll back to each other's
 * savepoints. What runs in a nested transaction is in that one, and does not wait for its end.
 *
 * @internal
 */
export const alone = <A, E, R>(
  transaction: Course.Transaction,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> =>
  Effect.flatMap(FiberRef.get(Course.current), (open): Effect.Effect<A, E | SqlError, R> =>
    // inside of a savepoint it has its turn
    open?.connection === transaction[0] && open.open
      ? effect
      : Course.inTurn(Course.turnOf(transaction), effect))

const millis = (setting: string): string => `extract(epoch FROM current_setting('${setting}')::interval) * 1000`

const set = (setting: string, value: string): string => pgText(`set_config('${setting}', ${value}, true)`, "text")

// The setting of the caller's is kept in one of our own: a savepoint that is released leaves the new one. Zero is no limit
const beginWith = (limit: string): string =>
  `SAVEPOINT eventsourcing; SELECT ${set("eventsourcing.lock_timeout", "current_setting('lock_timeout')")}, ${
    set("lock_timeout", `ceil(least(nullif(${millis("lock_timeout")}, 0), ${limit}))::text`)
  }`

// What waits for a lock may close a circle of waiting transactions, and the server then ends the one that has waited for
// deadlock_timeout: nearly always that is another one, which may be appending, unless this one has given up before
const begin: Record<Waiting, string> = {
  long: beginWith("2000"),
  short: beginWith(`${millis("deadlock_timeout")} / 50`)
}

// the release comes first: it fails where the savepoint, and with it the setting, is gone
const end = `RELEASE SAVEPOINT eventsourcing; SELECT ${
  set("lock_timeout", "current_setting('eventsourcing.lock_timeout')")
}`

const back = "ROLLBACK TO SAVEPOINT eventsourcing; RELEASE SAVEPOINT eventsourcing"
