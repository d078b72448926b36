// Runs the operations of the checkpoint store that change several rows, or run an effect, in a transaction.
//
// A batch updates the row of its partition first: this fences a former owner, and locks the row. The other transactions lock
// the rows of their versions first, then those of the partitions, in one order, so that two of them do not block each other.
// Those that processes repeat again and again lock no partition for which they would wait.
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Position from "../../Position.js"
import { elapsedMillis } from "../elapsed.js"
import { common, inherited } from "../projection/alignment.js"
import type { Advanced, AdvanceOptions, Key, Lease, Registration } from "../projection/model.js"
import { verdict } from "../projection/registering.js"
import {
  CheckpointStoreError,
  type LeaseLost,
  lost,
  mismatch,
  SubscriptionMismatch
} from "../projection/storeErrors.js"
import { isTraced } from "../tracing.js"
import * as Holds from "./checkpointHolds.js"
import * as Rows from "./checkpointRows.js"
import { failure, type Services } from "./checkpoints.js"
import { isRefusal } from "./failure.js"
import * as Row from "./row.js"
import type { Query } from "./statement.js"
import * as Transactions from "./transactions.js"

export const make = (services: Services) => ({
  register: (registration: Registration) => register(services, registration),
  advance: <A, E, R>(
    lease: Lease,
    options: AdvanceOptions,
    effect: (parked: ReadonlySet<string>, someInline: boolean) => Effect.Effect<A, E, R>
  ) => advance(services, lease, options, effect),
  resume: (key: Key) => resume(services, key),
  unpark: <A, E, R>(key: Key, positions: ReadonlyArray<Position.Position>, effect: Effect.Effect<A, E, R>) =>
    unpark(services, key, positions, effect),
  hold: (keys: ReadonlyArray<Key>, ttl: number) => Holds.hold(services, keys, ttl),
  repartition: (key: Key) => repartition(services, key),
  promote: <A, E, R>(key: Key, effect: Effect.Effect<A, E, R>) => promote(services, key, effect),
  remove: (key: Key, options: { readonly active: boolean }) => remove(services, key, options)
})

/** Runs an effect of the caller's in a transaction. Its failures stay as they are. */
const transact = <A, E, R>(
  { client }: Services,
  operation: string,
  name: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CheckpointStoreError, R> =>
  Effect.withFiberRuntime((fiber) => {
    // the client would make a span for the transaction
    const traced = isTraced(fiber) ? Effect.withTracerEnabled(effect, true) : effect
    const transaction = Transactions.beginOrNest(client.sql, traced, (reason, error) => {
      // the effect caught the failure of a statement, and would do so again
      const isRefused = reason === "RolledBack" && isRefusal(error)
      return failure(operation, name, { isCommitting: reason === "Unknown", isRefused })(error)
    })
    return Effect.withTracerEnabled(transaction, false)
  })

/** Runs statements in a transaction, again if it was undone. */
const repeated = <A, E>(
  { client }: Services,
  operation: string,
  name: string | undefined,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, Exclude<E, SqlError> | CheckpointStoreError> =>
  Effect.catchIf(client.run(client.transaction(effect)), isSqlError, failure(operation, name))

const isSqlError = (error: unknown): error is SqlError => error instanceof SqlError

const inside = { isCommitting: false }

/** Runs a statement of a transaction that runs an effect of the caller's too. */
const stepOf = ({ client }: Services, operation: string, name: string) => {
  const failed = failure(operation, name, inside)
  return (query: Query) => Effect.mapError(client.execute(query), failed)
}

const all = ({ client }: Services, queries: ReadonlyArray<Query>) =>
  Effect.forEach(queries, client.execute, { discard: true })

const register = (services: Services, registration: Registration) => {
  const { client: { execute }, statements } = services
  const { from, name, partitions } = registration
  return outside(
    services,
    "register",
    name,
    repeated(
      services,
      "register",
      name,
      Effect.gen(function*() {
        yield* execute(statements.registering(name))
        const versions = (yield* execute(statements.versions(name))).map(Rows.version)
        const known = verdict(versions, registration)
        if (known instanceof SubscriptionMismatch) return yield* known
        if (known === "New") {
          yield* all(services, [statements.forgetMarks(registration), statements.add(registration)])
          yield* execute(
            statements.addPartitions(registration, { of: partitions, position: from, handled: 0, epoch: 0 })
          )
          return
        }
        yield* execute(statements.forget(registration))
        // the row may be locked for a while: it is not touched without need
        const isWanted = versions.some(({ version, wanted }) =>
          version === registration.version && wanted === partitions
        )
        if (!isWanted) yield* execute(statements.want(registration))
      })
    )
  )
}

const advance = <A, E, R>(
  services: Services,
  lease: Lease,
  options: AdvanceOptions,
  effect: (parked: ReadonlySet<string>, someInline: boolean) => Effect.Effect<A, E, R>
): Effect.Effect<Advanced<A>, E | LeaseLost | CheckpointStoreError, R> => {
  const { statements } = services
  const { name } = lease
  const { streams, to, ttl } = options
  const step = stepOf(services, "advance", name)
  const parkedOf = (row: Row.Row) =>
    streams.length === 0 || !Rows.flag(row.parked)
      ? Effect.succeed(new Set<string>())
      : Effect.map(step(statements.parkedOf(lease, streams)), (rows) =>
        new Set(rows.map(({ stream }) => Row.text(stream))))
  // the first statement extends the lease too: another one is needed only after an effect that took long
  let begun = 0
  const extended = Effect.flatMap(
    elapsedMillis,
    (now) => now - begun > ttl / 4 ? step(statements.extend(lease, ttl)) : Effect.void
  )
  const first = Effect.flatMap(elapsedMillis, (now) => {
    begun = now
    return step(statements.advance(lease, options))
  })
  const run: Effect.Effect<Advanced<A>, E | LeaseLost | CheckpointStoreError, R> = Effect.flatMap(
    first,
    ([row]) =>
      row === undefined
        ? Effect.flatMap(step(statements.held(lease)), ([row]) =>
          row === undefined ? lost(lease) : Option.match(Rows.hold(row), {
            // the hold ended in between, or the row was changed
            onNone: () =>
              run,
            onSome: (hold) => Effect.succeed<Advanced<A>>({ _tag: "Held", hold })
          }))
        : Effect.flatMap(parkedOf(row), (parked) =>
          effect(parked, Rows.flag(row.inline))).pipe(
            Effect.zipLeft(extended),
            Effect.map((value): Advanced<A> => ({
              _tag: "Advanced",
              lease: { ...lease, position: to },
              value,
              active: Rows.flag(row.active)
            }))
          )
  )
  return outside(services, "advance", name, transact(services, "advance", name, run))
}

/** Refuses an operation inside a transaction of the caller. */
const outside = <A, E, R>(
  { client }: Services,
  operation: keyof typeof whyOutside,
  subscription: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CheckpointStoreError, R> =>
  Effect.flatMap(client.inTransaction, (inTransaction): Effect.Effect<A, E | CheckpointStoreError, R> =>
    inTransaction
      ? new CheckpointStoreError({
        operation,
        subscription,
        reason: "InvalidInput",
        mayHaveHappened: false,
        detail: `it ${whyOutside[operation]}, and must not run inside another one`
      })
      : effect)

const whyOutside = {
  advance: "commits a transaction of its own",
  // the fibers of the layer would run statements in a transaction that has ended
  register: "begins work that outlives a transaction"
}

/** Locks versions and their partitions. All partitions of the versions stay as they are until the transaction ends. */
const lock = ({ client: { execute }, statements }: Services, keys: ReadonlyArray<Key>) =>
  Effect.gen(function*() {
    const versions = (yield* execute(statements.lockKeys(keys))).map(Rows.lockedVersion)
    // a statement of its own, that sees the partitions of the version as it is now
    const partitions = (yield* execute(statements.lockPartitions(keys))).map(Rows.lockedPartition)
    return { versions, partitions }
  })

const resume = (services: Services, key: Key): Effect.Effect<number, CheckpointStoreError> =>
  repeated(
    services,
    "resume",
    key.name,
    Effect.zipRight(
      lock(services, [key]),
      Effect.map(services.client.execute(services.statements.resume(key)), (rows) => rows.length)
    )
  )

const unlocked = ({ client: { execute }, statements }: Services, keys: ReadonlyArray<Key>) =>
  Effect.map(execute(statements.holds(keys)), (rows) => rows.map(Rows.heldPartition))

/**
 * Locks the partitions of versions if all of them are at one position. Where they are not, there may be batches, and
 * one who waited for the slowest one would keep the others waiting.
 */
const aligned = (services: Services, keys: ReadonlyArray<Key>) =>
  Effect.gen(function*() {
    if (common(yield* unlocked(services, keys)) === undefined) return undefined
    const { client: { execute }, statements } = services
    const partitions = (yield* execute(statements.lockPartitions(keys))).map(Rows.lockedPartition)
    const position = common(partitions)
    return position === undefined ? undefined : { position, partitions }
  })

const repartition = (services: Services, key: Key): Effect.Effect<boolean, CheckpointStoreError> =>
  repeated(
    services,
    "repartition",
    key.name,
    Effect.gen(function*() {
      const { client: { execute }, statements } = services
      const [version] = (yield* execute(statements.lockKeys([key]))).map(Rows.lockedVersion)
      if (version === undefined) return false
      if ((yield* unlocked(services, [key])).length === version.wanted) return true
      const found = yield* aligned(services, [key])
      if (found === undefined) return false
      yield* all(services, [
        statements.removePartitions(key),
        statements.addPartitions(key, {
          of: version.wanted,
          position: found.position,
          ...inherited(found.partitions)
        })
      ])
      return true
    })
  )

const unpark = <A, E, R>(
  services: Services,
  key: Key,
  positions: ReadonlyArray<Position.Position>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | CheckpointStoreError, R> => {
  const { statements } = services
  const step = stepOf(services, "unpark", key.name)
  const distinct = Array.from(new Set(positions))
  return transact(
    services,
    "unpark",
    key.name,
    Effect.gen(function*() {
      const { versions } = yield* Effect.mapError(lock(services, [key]), failure("unpark", key.name, inside))
      const [row] = yield* step(statements.countParked(key, distinct))
      if (versions.length === 0 || Row.number(row.count) < distinct.length) return Option.none<A>()
      // before the effect, which may park some of them again
      yield* step(statements.unpark(key, distinct))
      return Option.some(yield* effect)
    })
  )
}

const promote = <A, E, R>(
  services: Services,
  key: Key,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Option.Option<A>, E | SubscriptionMismatch | CheckpointStoreError, R> => {
  const { statements } = services
  const step = stepOf(services, "promote", key.name)
  return transact(
    services,
    "promote",
    key.name,
    Effect.gen(function*() {
      const versions = (yield* step(statements.lockNamed(key.name))).map(Rows.lockedVersion)
      if (!versions.some(({ version }) => version === key.version)) return yield* mismatch(key, "Unknown")
      const both = versions
        .filter(({ active, version }) => active || version === key.version)
        .map(({ version }) => ({ name: key.name, version }))
      const partitions = (yield* step(statements.lockPartitions(both))).map(Rows.lockedPartition)
      if (common(partitions) === undefined) return Option.none<A>()
      const value = yield* effect
      yield* Effect.forEach([...statements.activate(key), statements.endHold(both)], step, { discard: true })
      return Option.some(value)
    })
  )
}

const remove = (
  services: Services,
  key: Key,
  { active }: { readonly active: boolean }
): Effect.Effect<boolean, SubscriptionMismatch | CheckpointStoreError> =>
  repeated(
    services,
    "remove",
    key.name,
    Effect.gen(function*() {
      // first: an append with a claim waits for nothing of this
      yield* all(services, services.statements.removing(key))
      const { partitions, versions: [version] } = yield* lock(services, [key])
      if (version === undefined) return false
      if (version.active && !active) return yield* mismatch(key, "Active")
      // a process may own no partition for a moment, as after a change of their number
      const [{ members }] = yield* services.client.execute(services.statements.members(key))
      const isOwned = Row.number(members) > 0 || partitions.some(({ leased }) => leased)
      if (isOwned) return yield* mismatch(key, "Owned")
      yield* all(services, services.statements.remove(key))
      return true
    })
  )
