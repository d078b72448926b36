// The stores as one process sees them: calls fail, answers are lost, leases go to others, and the process freezes or
// dies between any two steps.
import { Deferred, Effect, FiberId, FiberRef, Option } from "effect"
import { forever } from "../virtual.js"
import {
  check,
  type Checkpoints,
  checkPoison,
  count,
  type Events,
  type Key,
  note,
  textOf,
  transaction,
  type World,
  wrong
} from "./world.js"

export interface Process {
  readonly name: string
  isDead: boolean
  /** The process stands still until this is done. */
  frozen: Deferred.Deferred<void> | undefined
  /** The transactions that it has open: done if the server ends them. */
  readonly sessions: Set<Deferred.Deferred<void>>
}

export const makeProcess = (name: string): Process => ({
  name,
  isDead: false,
  frozen: undefined,
  sessions: new Set()
})

/** Goes on when the process runs: after it was frozen, or never. */
export const gate = (process: Process): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (process.isDead) return forever
    if (process.frozen === undefined) return Effect.void
    return Effect.zipRight(Deferred.await(process.frozen), gate(process))
  })

/** A moment between two steps, in which others go on. */
export const step = (world: World, process: Process): Effect.Effect<void> =>
  Effect.suspend(() => {
    const pause = world.dice.number(12)
    const passing = pause < 3 ? Effect.sleep([1, 7, 60][pause]) : Effect.yieldNow()
    return Effect.zipRight(passing, gate(process))
  })

/** Kills a process: it gives nothing back, and the server ends its transactions. */
export const kill = (world: World, process: Process): void => {
  note(world, `${process.name} is killed`)
  process.isDead = true
  process.frozen = undefined
  abort(process)
}

const abort = ({ sessions }: Process): void => {
  for (const session of sessions) Deferred.unsafeDone(session, Effect.void)
}

/** Stops a process for a time. The server may end transactions in which it does nothing. */
export const freeze = (world: World, process: Process, millis: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (process.isDead || process.frozen !== undefined) return Effect.void
    const frozen = Deferred.unsafeMake<void>(FiberId.none)
    process.frozen = frozen
    note(world, `${process.name} freezes for ${millis}`)
    count(world, "freezes")
    const idle = Math.min(millis, world.dice.oneOf([300, 1_000, 10_000]))
    const thaw = Effect.sync(() => {
      if (process.frozen === frozen) process.frozen = undefined
      Deferred.unsafeDone(frozen, Effect.void)
    })
    return Effect.sleep(idle).pipe(
      Effect.tap(() => idle < millis ? Effect.sync(() => abort(process)) : Effect.void),
      Effect.zipRight(Effect.sleep(millis - idle)),
      Effect.zipRight(thaw),
      Effect.forkDaemon,
      Effect.asVoid
    )
  })

const freezing = (world: World, process: Process): Effect.Effect<void> =>
  Effect.suspend(() =>
    world.calm || !world.dice.chance(0.03) ? Effect.void : freeze(world, process, world.dice.between(100, 3_000))
  )

type Fault = "fail" | "lost answer" | "lost lease" | "failed commit" | undefined

const draw = (world: World, faults: ReadonlyArray<Fault>): Fault => {
  if (world.calm || !world.dice.chance(world.faults)) return undefined
  const fault = world.dice.oneOf(faults)
  if (fault !== undefined) count(world, fault)
  return fault
}

export const checkpointsOf = (world: World, process: Process): Checkpoints => {
  const { checkpoints: raw, subject: { CheckpointStore } } = world

  const failure = (operation: string, mayHaveHappened: boolean) =>
    new CheckpointStore.CheckpointStoreError({
      operation,
      reason: "Unavailable",
      mayHaveHappened,
      detail: `injected into ${process.name}`
    })

  /** A call outside of a transaction. */
  const call = <A, E>(operation: string, run: Effect.Effect<A, E>) =>
    Effect.gen(function*() {
      count(world, `call ${operation}`)
      yield* step(world, process)
      const fault = draw(world, ["fail", "lost answer"])
      if (fault === "fail") return yield* failure(operation, false)
      const result = yield* Effect.withMaxOpsBeforeYield(run, 1_000_000)
      yield* step(world, process)
      if (fault === "lost answer") return yield* failure(operation, true)
      return result
    })

  /** A call with an effect in its transaction. What the effect writes is visible when the transaction commits. */
  const transact = <A, E, R>(
    operation: string,
    key: Key,
    run: (
      fault: Fault,
      inside: <A1, E1, R1>(effect: Effect.Effect<A1, E1, R1>) => Effect.Effect<A1, E1, R1>
    ) => Effect.Effect<A, E, R>,
    isCommitted: (result: A) => boolean
  ) =>
    Effect.gen(function*() {
      count(world, `call ${operation}`)
      yield* step(world, process)
      const fault = draw(world, ["fail", "lost answer", "lost lease", "failed commit"])
      if (fault === "fail") return yield* failure(operation, false)
      const writes: Array<() => void> = []
      const session = Deferred.unsafeMake<void>(FiberId.none)
      let hasCommitted = false
      const inside = <A1, E1, R1>(effect: Effect.Effect<A1, E1, R1>): Effect.Effect<A1, E1, R1> =>
        freezing(world, process).pipe(
          Effect.zipRight(gate(process)),
          Effect.zipRight(Effect.locally(effect, transaction, writes)),
          Effect.zipLeft(Effect.zipRight(freezing(world, process), gate(process)))
        )
      const committed = Effect.uninterruptibleMask((restore) =>
        Effect.tap(restore(run(fault, inside)), (result) => {
          if (!isCommitted(result)) return Effect.void
          hasCommitted = true
          for (const write of writes) write()
          return check(world, key)
        })
      )
      process.sessions.add(session)
      const result = yield* Effect.raceFirst(
        Effect.asSome(Effect.withMaxOpsBeforeYield(committed, 1_000_000)),
        Effect.as(Deferred.await(session), Option.none<A>())
      ).pipe(
        Effect.tapErrorCause((cause) =>
          Effect.sync(() =>
            note(world, `${process.name} ${operation} ${textOf(key)} failed: ${String(cause).slice(0, 200)}`)
          )
        ),
        Effect.ensuring(Effect.sync(() => process.sessions.delete(session)))
      )
      yield* step(world, process)
      if (Option.isNone(result)) return yield* failure(operation, hasCommitted)
      if (fault === "lost answer") return yield* failure(operation, true)
      return result.value
    })

  /** Another process takes the lease, and gives it back after a while. */
  const lose = (lease: Parameters<Checkpoints["renew"]>[0], ttl: number) =>
    Effect.zipRight(
      raw.release(lease),
      raw.acquire(lease, { owner: "phantom", ttl: Math.min(ttl, 200), index: lease.index, of: lease.of })
    )

  /** The commit of a transaction fails, and nothing is written. */
  const failedCommit = <A, E, R>(fault: Fault, operation: string, effect: Effect.Effect<A, E, R>) =>
    fault === "failed commit" ? Effect.zipRight(effect, failure(operation, world.dice.chance(0.5))) : effect

  return CheckpointStore.CheckpointStore.of({
    register: (registration) =>
      call(
        "register",
        Effect.gen(function*() {
          const before = yield* raw.list
          yield* raw.register(registration)
          const isKnown = before.some((one) => textOf(one) === textOf(registration))
          if (!isKnown) world.origins.set(textOf(registration), registration.from)
        })
      ),
    attend: (key, options) => call("attend", raw.attend(key, options)),
    leave: (key, owner) => call("leave", raw.leave(key, owner)),
    acquire: (key, options) => call("acquire", raw.acquire(key, options)),
    renew: (lease, ttl) => {
      const isLost = draw(world, ["lost lease", undefined, undefined]) === "lost lease"
      return call("renew", isLost ? Effect.zipRight(lose(lease, ttl), raw.renew(lease, ttl)) : raw.renew(lease, ttl))
    },
    release: (lease) => call("release", raw.release(lease)),
    advance: (lease, options, effect) =>
      transact(
        "advance",
        lease,
        (fault, inside) =>
          Effect.zipRight(
            fault === "lost lease" ? lose(lease, options.ttl) : Effect.void,
            Effect.tap(
              raw.advance(
                lease,
                options,
                (...seen) => failedCommit(fault, "advance", inside(Effect.suspend(() => effect(...seen))))
              ),
              ({ _tag }) => {
                note(world, `${process.name} ${textOf(lease)} ${lease.index}/${lease.of} ${_tag} to ${options.to}`)
                return _tag === "Advanced" ? checkLease(world, lease) : Effect.void
              }
            )
          ),
        ({ _tag }) => _tag === "Advanced"
      ),
    stop: (lease, stopped) =>
      call(
        "stop",
        Effect.tap(raw.stop(lease, stopped), () => {
          note(world, `${textOf(lease)} ${lease.index} stops: ${stopped.reason}`)
          count(world, "stopped")
          return Option.match(stopped.position, {
            onNone: () => Effect.sync(() => wrong(world, `${textOf(lease)} stopped: ${stopped.reason}`)),
            onSome: (position) => Effect.sync(() => checkPoison(world, lease, position, stopped.reason))
          })
        })
      ),
    resume: (key) => call("resume", raw.resume(key)),
    park: (key, events) =>
      Effect.gen(function*() {
        for (const { kind, position, reason } of events) {
          count(world, `parked ${kind}`)
          if (kind === "Poison") checkPoison(world, key, position, reason)
        }
        if ((yield* FiberRef.get(transaction)) === undefined) wrong(world, `${textOf(key)} parks without a transaction`)
        return yield* raw.park(key, events)
      }),
    parked: (key, options) => call("parked", raw.parked(key, options)),
    unpark: (key, positions, effect) =>
      transact(
        "unpark",
        key,
        (fault, inside) => raw.unpark(key, positions, failedCommit(fault, "unpark", inside(effect))),
        Option.isSome
      ),
    hold: (keys, ttl) => call("hold", raw.hold(keys, ttl)),
    repartition: (key) =>
      call(
        "repartition",
        Effect.tap(raw.repartition(key), (isDone) => {
          if (isDone) count(world, "repartitioned")
          return isDone ? check(world, key) : Effect.void
        })
      ),
    promote: (key, effect) =>
      transact(
        "promote",
        key,
        (fault, inside) => raw.promote(key, failedCommit(fault, "promote", inside(effect))),
        Option.isSome
      ),
    remove: (key, options) =>
      call(
        "remove",
        Effect.map(raw.remove(key, options), (isRemoved) => {
          if (isRemoved) {
            for (const map of [world.tables, world.deliveries, world.dropped, world.origins]) map.delete(textOf(key))
            count(world, "removed")
            note(world, `${textOf(key)} is removed`)
          }
          return isRemoved
        })
      ),
    list: call("list", raw.list),
    sharesDatabase: raw.sharesDatabase,
    inline: raw.inline,
    local: CheckpointStore.makeLocal()
  })
}

/** A process that has just advanced has a lease for the next batch. */
const checkLease = (world: World, lease: Parameters<Checkpoints["renew"]>[0]): Effect.Effect<void> =>
  Effect.map(Effect.orDie(world.checkpoints.list), (all) => {
    const partition = all.find((one) => textOf(one) === textOf(lease))?.partitions[lease.index]
    if (partition !== undefined && Option.isNone(partition.owner)) {
      wrong(world, `${textOf(lease)} advanced partition ${lease.index}, whose lease ended`)
    }
  })

export const eventsOf = (world: World, process: Process): Events => {
  const { events: raw, subject: { EventStore } } = world
  const failing = (operation: "readPage" | "read" | "find" | "head") =>
    new EventStore.EventStoreError({
      operation,
      reason: "Unavailable",
      mayHaveAppended: false,
      detail: "injected",
      ...(world.dice.chance(0.5) ? { cause: new Error("away") } : {})
    })
  const call = <A, E>(operation: "readPage" | "find" | "head", run: Effect.Effect<A, E>) =>
    Effect.gen(function*() {
      count(world, `call ${operation}`)
      yield* step(world, process)
      if (draw(world, ["fail"]) === "fail") return yield* failing(operation)
      const result = yield* run
      yield* step(world, process)
      return result
    })
  return EventStore.EventStore.of({
    ...raw,
    readPage: (options) => call("readPage", raw.readPage(options)),
    find: (ids) => call("find", raw.find(ids)),
    head: call("head", raw.head)
  })
}
