import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { classify, refusal } from "../failure.js"
import * as Savepoint from "../savepoint.js"
import * as Course from "./course.js"
import * as Pool from "./pool.js"

/**
 * How a transaction failed, apart from what ran in it.
 *
 * @internal
 */
export interface Failed<out E> {
  (reason: "NotBegun" | "RolledBack" | "Unknown", error: SqlError): E
}

/**
 * Whether what a failed `COMMIT` was to commit may be there all the same.
 *
 * @internal
 */
export const afterCommit = (error: SqlError): "RolledBack" | "Unknown" =>
  classify(error).mayHaveHappened ? "Unknown" : "RolledBack"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * Runs an effect in a transaction of its own on PostgreSQL. The client's own `withTransaction` takes a `COMMIT` for done
 * that the server answered with a rollback, dies where `BEGIN` or `COMMIT` fails, and cannot be interrupted while it
 * waits for a connection; here the first two are failures, and the third can.
 *
 * @internal
 */
export const run = <A, E, R, F>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  failed: Failed<F>
): Effect.Effect<A, E | F, R> =>
  Pool.of(sql).use(
    (connection) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          Effect.mapError(execute(connection, "BEGIN"), (error) => failed("NotBegun", error)),
          () =>
            Effect.flatMap(Effect.exit(restore(within(effect, [connection, 0]))), (exit) =>
              Exit.isSuccess(exit)
                ? Effect.zipRight(
                  Effect.mapError(commit(connection, restore), (error) => failed(afterCommit(error), error)),
                  exit
                )
                : Effect.zipRight(Effect.ignore(rollback(connection)), exit))
        )
      ),
    (error) => failed("NotBegun", error)
  )

/**
 * Runs an effect in a savepoint of an open transaction. Nested transactions of one transaction, and appends beside them,
 * run one after the other: savepoints are a stack, and a rollback to one takes everything with it that came later.
 *
 * @internal
 */
export const nested = <A, E, R, F>(
  transaction: Course.Transaction,
  effect: Effect.Effect<A, E, R>,
  failed: Failed<F>
): Effect.Effect<A, E | F, R> =>
  Effect.uninterruptibleMask((restore) => {
    const [connection, depth] = transaction
    const name = `eventsourcing_${depth + 1}`
    const begun = Effect.suspend(() => {
      const problem = Course.problem(transaction)
      return problem === undefined
        ? Effect.mapError(execute(connection, `SAVEPOINT ${name}`), Savepoint.explained)
        : refusal(problem)
    })
    const end = (statements: string): Effect.Effect<unknown, SqlError> =>
      Effect.mapError(execute(connection, statements), Savepoint.explained)
    const undo = Effect.ignore(end(`ROLLBACK TO SAVEPOINT ${name}; RELEASE SAVEPOINT ${name}`))
    const released = Effect.catchAll(
      end(`RELEASE SAVEPOINT ${name}`),
      (error) => Effect.zipRight(undo, Effect.fail(failed(afterCommit(error), error)))
    )
    return Effect.matchEffect(
      Savepoint.alone(
        transaction,
        Effect.flatMap(
          Effect.zipRight(begun, Effect.exit(restore(within(effect, [connection, depth + 1])))),
          (exit): Effect.Effect<Exit.Exit<A, E | F>> =>
            Effect.exit(Effect.zipRight(Exit.isSuccess(exit) ? released : undo, exit))
        )
      ),
      { onFailure: (error) => Effect.fail(failed("NotBegun", error)), onSuccess: (exit) => exit }
    )
  })

const within = <A, E, R>(effect: Effect.Effect<A, E, R>, transaction: Course.Transaction): Effect.Effect<A, E, R> =>
  Effect.locallyWith(effect, FiberRef.currentContext, Context.add(SqlClient.TransactionConnection, transaction))

const execute = (connection: Connection.Connection, statement: string): Effect.Effect<unknown, SqlError> =>
  Course.bound(connection, statement, (statement) => Effect.suspend(() => connection.executeRaw(statement, [])))

// a COMMIT may wait for a deferred trigger or a replica: like an append that is interrupted it may have happened
const commit = (connection: Connection.Connection, restore: Restore): Effect.Effect<void, SqlError> =>
  restore(execute(connection, "COMMIT")).pipe(
    Effect.onError(() => Effect.ignore(rollback(connection))),
    Effect.flatMap((result) =>
      // the tag of the command that the server carried out
      typeof result === "object" && result !== null && Reflect.get(result, "command") === "ROLLBACK"
        ? refusal(
          "PostgreSQL rolled the transaction back instead of committing it: a statement in it had failed, and the " +
            "failure was caught"
        )
        : Effect.void
    )
  )

// A connection that goes back to the pool in an open transaction takes down what comes next: a cancel request that was
// meant for the statement before may have hit the first try
const rollback = (connection: Connection.Connection): Effect.Effect<unknown, SqlError> =>
  Effect.retry(execute(connection, "ROLLBACK"), {
    times: 3,
    while: (error) => classify(error).kind === "Cancelled"
  })
