/**
 * What the two SQL stores have in common.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as OwnClient from "./internal/sql/client.js"
import { classify } from "./internal/sql/failure.js"
import * as PgTransaction from "./internal/sql/postgres/transaction.js"

/**
 * A transaction did not do what ran in it: it could not begin (`NotBegun`), the database rolled it back (`RolledBack`), or
 * the connection was lost while it was committed, so that it may have been (`Unknown`).
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionError extends Schema.TaggedError<TransactionError>("effect-eventsourcing/TransactionError")(
  "TransactionError",
  {
    reason: Schema.Literal("NotBegun", "RolledBack", "Unknown"),
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${outcomes[this.reason]}: ${this.detail}`
  }
}

const outcomes: Readonly<Record<TransactionError["reason"], string>> = {
  NotBegun: "the transaction could not begin",
  RolledBack: "nothing of the transaction was committed",
  Unknown: "the transaction may have been committed"
}

/**
 * Runs an effect in one transaction of the SQL client, and succeeds only if the database committed it. What fails, or is
 * interrupted, is rolled back. Inside an open transaction it is a part of that which is undone alone.
 *
 * Prefer it to the client's own `withTransaction`, which succeeds where PostgreSQL answers `COMMIT` with a rollback: that
 * is what becomes of a transaction in which a statement failed, also if the failure was caught.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 * import { EventStore, ExpectedVersion, SqlStores, StreamId } from "effect-eventsourcing"
 *
 * const opened = { id: crypto.randomUUID(), type: "Opened", payload: { _tag: "Opened" } }
 *
 * const both = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   const events = yield* EventStore.EventStore
 *   yield* events.append(StreamId.make("Account", "a-1"), [opened], { expectedVersion: ExpectedVersion.noStream })
 *   yield* sql`INSERT INTO outbox (message) VALUES ('opened')`
 * }).pipe(SqlStores.transaction)
 * ```
 *
 * @since 0.1.0
 * @category transactions
 */
export const transaction = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | TransactionError, R | SqlClient.SqlClient> =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      Effect.contextWithEffect((context: Context.Context<R>): Effect.Effect<A, E | TransactionError, R> => {
        const open = Context.getOption(context, SqlClient.TransactionConnection)
        if (Option.isNone(open)) return OwnClient.begin(sql, effect, failed)
        return OwnClient.belongs(sql).pipe(
          Effect.mapError((error) => failed("NotBegun", error)),
          Effect.flatMap((isOwn) => {
            if (!isOwn(open.value[0])) return OwnClient.begin(sql, effect, failed)
            return sql.onDialectOrElse({
              pg: () => PgTransaction.nested(open.value, effect, failed),
              orElse: () => OwnClient.typedTransaction(sql, effect, failed)
            })
          })
        )
      })
  )

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const failed: PgTransaction.Failed<TransactionError> = (reason, error) =>
  new TransactionError({ reason, detail: classify(error).detail, cause: error })
