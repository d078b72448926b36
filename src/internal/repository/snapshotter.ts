/**
 * Takes snapshots in the background.
 *
 * Mechanism: a bounded queue with one slot for each stream, in which the latest version wins, and a few workers that try
 * each save within a timeout and by a retry schedule. Closing the scope drains the queue.
 * Cost: a command adds an entry to a map. A save costs a load and a statement on a worker.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { InvalidOption } from "../../InvalidOption.js"
import type * as SnapshotPolicy from "../../SnapshotPolicy.js"
import * as Counters from "./counters.js"
import { detached } from "./detached.js"
import { backgroundProblem } from "./policy.js"
import * as Closing from "./snapshotterClosing.js"
import * as Slots from "./snapshotterSlots.js"
import * as Tries from "./snapshotterTries.js"
import * as Telemetry from "./telemetry.js"

/** @internal */
export interface Snapshotter {
  /**
   * Asks for a snapshot. It never waits and never fails. It returns false if the request was dropped: the queue is full
   * or closed, or an earlier save of the stream hangs and cannot be interrupted.
   */
  readonly offer: (request: Slots.Request) => boolean
  /** Waits until nothing is pending. */
  readonly awaitPending: Effect.Effect<void>
  /** How many streams wait or are being written. */
  readonly pending: Effect.Effect<number>
}

/** @internal */
export interface Options extends SnapshotPolicy.BackgroundOptions {
  /**
   * Whether the fiber that runs it is inside a transaction that the saves may have to wait for. A scope that closes inside
   * such a transaction does not wait for saves. Default: false.
   */
  readonly inTransaction?: Effect.Effect<boolean> | undefined
}

/**
 * Starts the workers. They keep the default services, loggers, minimum log level, scheduler and supervisor of the fiber
 * that builds them, and none of its other locals: no transaction, span, annotation or `FiberRef`.
 *
 * @internal
 */
export const make = (
  aggregate: string,
  options: Options = {}
): Effect.Effect<Snapshotter, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const problem = backgroundProblem(options)
    if (problem !== undefined) return yield* problem
    const slots = Slots.make(options.capacity ?? 1_024, Counters.saves(aggregate))
    const tries = Tries.make(options.timeout ?? Duration.seconds(5))
    const drainTimeout = options.drainTimeout ?? Duration.seconds(5)
    const inTransaction = options.inTransaction ?? Effect.succeed(false)
    const closing = { aggregate, slots, tries, drainTimeout, inTransaction }
    const worker = makeWorker(slots, tries, options.retry ?? defaultRetry)

    // finalizers run in reverse order: first the queue is drained, then the workers end, at last their tries
    yield* Closing.awaitTries(closing)
    yield* Effect.replicateEffect(Effect.forkScoped(worker), options.workers ?? 2)
    yield* Effect.forkScoped(Closing.logOverflow(closing))
    yield* Closing.drain(closing)

    return {
      offer: (request) => Slots.offer(slots, request),
      awaitPending: slots.idle.await,
      pending: Effect.sync(() => Slots.pending(slots))
    }
  })

const defaultRetry = Schedule.exponential("100 millis").pipe(Schedule.intersect(Schedule.recurs(2)))

const makeWorker = (
  slots: Slots.Slots,
  tries: Tries.Tries,
  retry: NonNullable<Options["retry"]>
): Effect.Effect<never> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(slots.work.await), () => {
      const slot = Slots.take(slots)
      if (slot === undefined) return Effect.void
      const key = Slots.keyOf(slot[0].stream)
      const writes = Effect.forEach(
        slot,
        (request) => write(slots, Tries.attempt(tries, slots, key, request), request, retry),
        { discard: true }
      )
      return Effect.ensuring(restore(writes), Effect.sync(() => Tries.release(tries, slots, key)))
    })
  ).pipe(Effect.forever, Effect.interruptible, detached)

const write = (
  { saves }: Slots.Slots,
  attempt: Effect.Effect<unknown, unknown>,
  { stream: { aggregate, id } }: Slots.Request,
  retry: NonNullable<Options["retry"]>
): Effect.Effect<void> =>
  attempt.pipe(
    // a store may fail in any way, and every failure is tried again
    Effect.catchAllCause((cause) => Effect.fail(Cause.squash(cause))),
    Effect.retry(retry),
    Effect.matchEffect({
      onFailure: (error) => {
        const message = "a background snapshot failed; the stream is asked again when it is next due"
        return Effect.zipRight(Telemetry.warn(message, error, { aggregate, id }), Effect.sync(saves.failed))
      },
      onSuccess: (taken) => taken === false ? Effect.void : Effect.sync(saves.done)
    }),
    Effect.withSpan("Snapshotter.write", {
      captureStackTrace: false,
      attributes: { "eventsourcing.aggregate": aggregate, "eventsourcing.id": id }
    }),
    // a schedule, a logger or a tracer that throws does not end the worker
    Effect.catchAllCause(() => Effect.sync(saves.failed))
  )
