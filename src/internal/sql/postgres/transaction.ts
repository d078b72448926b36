import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { classify, refusal } from "../failure.js"
import type * as Turns from "../turns.js"
import * as Pool from "./pool.js"
import * as Savepoint from "./savepoint.js"
import * as TransactionState from "./transactionState.js"

/** Makes the error of a transaction that failed for another reason than the effect in it. */
export interface Failed<out E> {
  (reason: "NotBegun" | "RolledBack" | "Unknown", error: SqlError): E
}

/** Whether a failed `COMMIT` may have committed. */
export const afterCommit = (error: SqlError): "RolledBack" | "Unknown" =>
  classify(error).mayHaveHappened ? "Unknown" : "RolledBack"

/**
 * Runs an effect in a new transaction on PostgreSQL. The client's own `withTransaction` succeeds if the server answers
 * `COMMIT` with a rollback, dies if `BEGIN` or `COMMIT` fails, and cannot be interrupted while it waits for a connection.
 * Here these are failures, and the wait can be interrupted.
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

/** Runs an effect in a savepoint, one after the other: a rollback to a savepoint undoes all later ones. */
export const nested = <A, E, R, F>(
  transaction: TransactionState.Transaction,
  effect: Effect.Effect<A, E, R>,
  failed: Failed<F>
): Effect.Effect<A, E | F, R> =>
  Effect.uninterruptibleMask((restore) => {
    const [connection, depth] = transaction
    const name = `eventsourcing_${depth + 1}`
    const begun = Effect.suspend(() => {
      const problem = TransactionState.problem(transaction)
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

const within = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  transaction: TransactionState.Transaction
): Effect.Effect<A, E, R> =>
  Effect.locallyWith(effect, FiberRef.currentContext, Context.add(SqlClient.TransactionConnection, transaction))

const execute = (connection: Connection.Connection, statement: string): Effect.Effect<unknown, SqlError> =>
  TransactionState.runBoundary(
    connection,
    statement,
    (statement) => Effect.suspend(() => connection.executeRaw(statement, []))
  )

// a COMMIT may wait for a deferred trigger or a replica; like an interrupted append, it may have been carried out
const commit = (connection: Connection.Connection, restore: Turns.Restore): Effect.Effect<void, SqlError> =>
  restore(execute(connection, "COMMIT")).pipe(
    Effect.onError(() => Effect.ignore(rollback(connection))),
    Effect.flatMap((result) =>
      // the server names the command that it carried out
      typeof result === "object" && result !== null && Reflect.get(result, "command") === "ROLLBACK"
        ? refusal(
          "PostgreSQL rolled the transaction back instead of committing it: a statement in it had failed, and the " +
            "failure was caught"
        )
        : Effect.void
    )
  )

// A connection must not go back to the pool in an open transaction. A cancel request for the statement before may have hit
// the first try
const rollback = (connection: Connection.Connection): Effect.Effect<unknown, SqlError> =>
  Effect.retry(execute(connection, "ROLLBACK"), {
    times: 3,
    while: (error) => classify(error).kind === "Cancelled"
  })
