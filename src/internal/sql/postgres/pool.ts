// Lends connections of a PostgreSQL pool. The driver waits for a free one as long as the program allows, also in a pool that
// was closed meanwhile. Here waiting ends with a failure that says that no statement was sent, and at once on an
// interruption. All waiting fibers share one timer, which runs only while fibers wait.
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Scheduler } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import { byKey } from "../byKey.js"
import { classify, refusal } from "../failure.js"

/** The pool of a PostgreSQL client. */
export interface Pool {
  /** Gives a connection to an effect, and takes it back when that ends. */
  readonly use: <A, E, R, F>(
    f: (connection: Connection.Connection) => Effect.Effect<A, E, R>,
    failed: (error: SqlError) => F
  ) => Effect.Effect<A, E | F, R>
}

/** The pool of a client, the same for all copies of the client. */
export const of = (sql: SqlClient.SqlClient): Pool => poolOf(sql.reserve)

/** Milliseconds without a connection for any of the waiting fibers, after which all of them fail. */
const patience = 30_000

const tick = 500

interface Turn {
  readonly since: number
  readonly fail: (error: SqlError) => void
}

export const make = (reserve: SqlClient.SqlClient["reserve"]): Pool => {
  const waiting = new Set<Turn>()
  let timer: ReturnType<typeof setInterval> | undefined
  let lastGiven = 0

  const lend = Effect.flatMap(Scope.make(), (scope) =>
    Effect.matchCauseEffect(Scope.extend(reserve, scope), {
      onFailure: (cause) => Effect.zipRight(giveBack(scope), Effect.failCause(cause)),
      onSuccess: (connection) => Effect.succeed({ connection, scope })
    }))

  const failAll = (error: SqlError) => {
    for (const turn of waiting) turn.fail(error)
    waiting.clear()
  }
  const look = () => {
    const now = performance.now()
    if (waiting.size === 0) {
      clearInterval(timer)
      timer = undefined
      return
    }
    const [{ since }] = waiting
    if (now - since < tick) return
    if (now - Math.max(since, lastGiven) >= patience) return failAll(refusal(inVain))
    // a closed pool fails for a new fiber, but not for the fibers that wait already
    Effect.runFork(Effect.scoped(reserve)).addObserver((exit) => {
      if (Exit.isSuccess(exit)) lastGiven = performance.now()
      const error = Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none()
      if (Option.isSome(error) && classify(error.value).kind === "Closed") failAll(error.value)
    })
  }
  const wait = (turn: Turn) => {
    waiting.add(turn)
    timer ??= setInterval(look, tick)
  }

  return {
    use: (f, failed) =>
      Effect.suspend(() => {
        let ended = false
        let lent: Scope.CloseableScope | undefined
        const connection = Effect.async<Connection.Connection, ReturnType<typeof failed>>((resume) => {
          const turn: Turn = { since: performance.now(), fail: (error) => resume(Effect.fail(failed(error))) }
          wait(turn)
          // the driver forgets a connection that arrives after the waiting fiber was interrupted: wait in a fiber of our own
          Effect.runFork(lend, { scheduler: atOnce }).addObserver((exit) => {
            waiting.delete(turn)
            if (Exit.isFailure(exit)) return resume(Effect.failCause(Cause.map(exit.cause, failed)))
            lastGiven = performance.now()
            const { connection, scope } = exit.value
            // not at once: the driver lends it to the next fiber meanwhile, and hundreds that were interrupted would nest
            if (ended) return void Effect.runFork(giveBack(scope), { immediate: false })
            lent = scope
            resume(Effect.succeed(connection))
          })
        })
        const end = Effect.suspend(() => {
          ended = true
          return lent === undefined ? Effect.void : giveBack(lent)
        })
        return Effect.ensuring(Effect.flatMap(connection, f), end)
      })
  }
}

const giveBack = (scope: Scope.CloseableScope): Effect.Effect<void> => Scope.close(scope, Exit.void)

// the waiting fiber goes on by its own scheduler: a round of another one before that would only delay it
const atOnce: Scheduler = { shouldYield: () => false, scheduleTask: (task) => task() }

const poolOf = byKey(make)

const inVain = `the pool gave no connection for ${
  patience / 1000
} seconds: give the client a connectTimeout, or more connections`
