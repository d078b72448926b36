// Runs an append and its inline projections in one transaction.
// A transaction of our own is repeated after a deadlock, a busy file or a lost connection: the events have ids, so that a
// commit whose answer was lost is recognised. In a transaction of the caller it is a savepoint, and nothing is repeated.
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { EventStoreError, type InlineDriver } from "../../EventStore.js"
import type * as StreamId from "../../StreamId.js"
import { isTraced } from "../tracing.js"
import type { StoreClient } from "./client.js"
import { eventStoreError } from "./failure.js"
import * as Retry from "./retry.js"
import * as Transactions from "./transactions.js"

export const make = (client: StoreClient): InlineDriver => ({
  client: client.identity.reserve,
  transaction: (stream, append) => run(client, "append", stream, append),
  joined: (services, caller) => {
    const parts = Context.pick(SqlClient.TransactionConnection, Tracer.ParentSpan)(caller)
    return Context.merge(services, parts)
  }
})

export const run = <A, E extends { readonly cause?: unknown }>(
  client: StoreClient,
  operation: EventStoreError["operation"],
  stream: StreamId.StreamId,
  effect: (transaction: { readonly nested: boolean }) => Effect.Effect<A, E>
): Effect.Effect<A, E | EventStoreError> =>
  Effect.flatMap(client.inTransaction, (nested) => {
    const transaction = inOne(client, effect({ nested }), (mayHaveAppended, error) =>
      eventStoreError(operation, stream, mayHaveAppended)(error))
    return nested ? transaction : repeated(transaction)
  })

const inOne = <A, E>(
  { sql }: StoreClient,
  effect: Effect.Effect<A, E>,
  failed: (mayHaveAppended: boolean, error: SqlError) => EventStoreError
): Effect.Effect<A, E | EventStoreError> =>
  Effect.withFiberRuntime((fiber) => {
    // the client would make a span for the transaction
    const traced = isTraced(fiber) ? Effect.withTracerEnabled(effect, true) : effect
    const transaction = Transactions.beginOrNest(sql, traced, (reason, error) => failed(reason === "Unknown", error))
    return Effect.withTracerEnabled(transaction, false)
  })

/** Repeats a transaction that was undone by a failure that passes. */
const repeated = <A, E extends { readonly cause?: unknown }>(
  transaction: Effect.Effect<A, E | EventStoreError>
): Effect.Effect<A, E | EventStoreError> =>
  Effect.suspend(() => {
    const failures: Array<E | EventStoreError> = []
    let mayHaveAppended = false
    const noted = Effect.mapError(transaction, (error) => {
      failures.push(error)
      if (error instanceof EventStoreError) mayHaveAppended ||= error.mayHaveAppended
      return Option.getOrElse(statementOf(error), () => error)
    })
    return Effect.mapError(Retry.whileUndoneOrLost(noted), (error) => {
      const last = error instanceof SqlError ? failures[failures.length - 1] : error
      return mayHaveAppended && last instanceof EventStoreError
        ? new EventStoreError({ ...last, mayHaveAppended: true })
        : last
    })
  })

/** The failure of a statement that caused an error. */
const statementOf = (error: unknown): Option.Option<SqlError> => {
  let current = error
  // a cause may be its own cause
  for (let depth = 0; depth < 10 && typeof current === "object" && current !== null; depth++) {
    if (current instanceof SqlError) return Option.some(current)
    current = Reflect.get(current, "cause")
  }
  return Option.none()
}
