import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/**
 * A way to the one connection of a SQLite client past its semaphore, which costs more than most statements, for as long
 * as nobody holds or awaits the connection. Whoever reserves it waits for the statements that are on it.
 *
 * @internal
 */
export interface DirectSqlite {
  /** Runs the first where the connection is free, else the second. */
  readonly run: <A, E>(direct: Effect.Effect<A, E>, otherwise: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

const clients = new WeakMap<SqlClient.SqlClient, DirectSqlite>()

/** @internal */
export const get = (client: SqlClient.SqlClient): DirectSqlite | undefined => clients.get(client)

/**
 * The `reserve` that the client must have from now on: all transactions have to go through it.
 *
 * @internal
 */
export const open = (client: SqlClient.SqlClient): SqlClient.SqlClient["reserve"] => {
  const { reserve } = client
  let holders = 0
  let running = 0
  const idle = Effect.unsafeMakeLatch(true)
  const leave = () => {
    if (--running === 0) idle.unsafeOpen()
  }
  clients.set(client, {
    run: (direct, otherwise) =>
      Effect.uninterruptibleMask((restore) => {
        if (holders > 0) return restore(otherwise)
        running++
        idle.unsafeClose()
        return Effect.matchCauseEffect(restore(direct), {
          onFailure: (cause) => {
            leave()
            return Effect.failCause(cause)
          },
          onSuccess: (value) => {
            leave()
            return Effect.succeed(value)
          }
        })
      })
  })
  return Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      holders++
      // finalizers run last first: the connection is given back before it counts as free
      const counted = Effect.flatMap(Effect.scope, (scope) =>
        Scope.addFinalizer(
          scope,
          Effect.sync(() => {
            holders--
          })
        ))
      return Effect.zipRight(counted, restore(Effect.zipRight(idle.await, reserve)))
    })
  )
}
