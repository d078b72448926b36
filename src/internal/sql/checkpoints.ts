// Keeps checkpoints in tables: registrations, leases and parked events. Each operation is one or two statements, outside of
// a transaction unless the caller has one. The operations that need a transaction are in checkpointTransactions.ts.
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Attendance, Key, Lease, ParkedEvent, Registered, Stopped } from "../projection/model.js"
import { CheckpointStoreError, lost } from "../projection/storeErrors.js"
import * as Rows from "./checkpointRows.js"
import type { Acquisition, CheckpointStatements, ParkedOptions } from "./checkpointStatements.js"
import type { StoreClient } from "./client.js"
import { classify, withoutRows } from "./failure.js"
import * as Row from "./row.js"

/** The client and the statements of a checkpoint store. */
export interface Services {
  readonly client: StoreClient
  readonly statements: CheckpointStatements
}

/** The error of an operation for a failed statement. Inside a transaction a statement commits nothing. */
export const failure = (
  operation: string,
  name?: string,
  { isCommitting, isRefused }: { readonly isCommitting: boolean; readonly isRefused?: boolean } = { isCommitting: true }
) =>
(error: SqlError) => {
  const { detail, kind, mayHaveHappened } = classify(error)
  return new CheckpointStoreError({
    operation,
    ...(name === undefined ? {} : { subscription: name }),
    reason: isRefused === true || kind === "Refused" || kind === "UniqueViolation" ? "Refused" : "Unavailable",
    mayHaveHappened: mayHaveHappened && isCommitting,
    detail,
    cause: withoutRows(error)
  })
}

// A renewal in the process of a frozen one must not wait for it: the statements of leases wait for a lock for a second only.
// In a transaction of the caller they are in a savepoint, which gives the transaction its own limit back
export const make = ({ client, statements }: Services) => {
  const { attemptBriefly, execute, repeat, run } = client
  return {
    attend: (key: Key, member: { readonly owner: string; readonly ttl: number }) =>
      Effect.zipRight(
        attemptBriefly(execute(statements.attend(key, member))),
        repeat(execute(statements.attended(key)))
      ).pipe(
        Effect.mapBoth({
          onFailure: failure("attend", key.name),
          onSuccess: (rows): Attendance => Rows.attendance(rows)
        })
      ),
    leave: (key: Key, owner: string) =>
      repeat(execute(statements.leave(key, owner))).pipe(
        Effect.mapBoth({ onFailure: failure("leave", key.name), onSuccess: () => undefined })
      ),
    // a lease that a lost connection left behind ends by its time
    acquire: (key: Key, options: Acquisition) =>
      Effect.mapBoth(repeat(execute(statements.acquire(key, options))), {
        onFailure: failure("acquire", key.name),
        onSuccess: (rows): Option.Option<Lease> => {
          if (rows.length === 0) return Option.none()
          const { index, of, owner } = options
          const epoch = Row.number(rows[0].epoch)
          return Option.some({ ...key, index, of, owner, epoch, position: Rows.position(rows[0]) })
        }
      }),
    renew: (lease: Lease, ttl: number) =>
      Effect.flatMap(
        Effect.mapError(attemptBriefly(execute(statements.renew(lease, ttl))), failure("renew", lease.name)),
        (rows) => rows.length === 0 ? lost(lease) : Effect.succeed({ ...lease, position: Rows.position(rows[0]) })
      ),
    release: (lease: Lease) =>
      attemptBriefly(execute(statements.release(lease))).pipe(
        Effect.mapBoth({ onFailure: failure("release", lease.name), onSuccess: () => undefined })
      ),
    // not repeated after a lost connection: the lease would be lost by then
    stop: (lease: Lease, stopped: Stopped) =>
      Effect.flatMap(
        Effect.mapError(
          run(execute(statements.stop(lease, stopped, Option.getOrNull(stopped.position)))),
          failure("stop", lease.name)
        ),
        (rows) => rows.length === 0 ? lost(lease) : Effect.void
      ),
    park: (key: Key, events: ReadonlyArray<ParkedEvent>) =>
      // a statement changes a row once
      repeat(execute(statements.park(key, lastOfEach(events)))).pipe(
        Effect.mapBoth({ onFailure: failure("park", key.name), onSuccess: () => undefined })
      ),
    parked: (key: Key, options: ParkedOptions) =>
      Effect.mapBoth(repeat(execute(statements.parked(key, options))), {
        onFailure: failure("parked", key.name),
        onSuccess: (rows): ReadonlyArray<ParkedEvent> => rows.map(Rows.parkedEvent)
      }),
    list: Effect.mapBoth(repeat(execute(statements.list)), {
      onFailure: failure("list"),
      onSuccess: (rows): ReadonlyArray<Registered> => Rows.registered(rows)
    })
  }
}

const lastOfEach = (events: ReadonlyArray<ParkedEvent>): ReadonlyArray<ParkedEvent> =>
  Array.from(new Map(events.map((event) => [event.position, event])).values())
