// Takes snapshots in the background.
// Mechanism: a bounded queue with one slot for each stream, in which the latest version wins, and a few workers that try
// each save within a timeout and by a retry schedule. Closing the scope drains the queue.
// Cost: a command adds an entry to a map. A save costs a load and a statement on a worker.
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { InvalidOption } from "../../InvalidOption.js"
import type * as SnapshotPolicy from "../../SnapshotPolicy.js"
import * as Counters from "../counters.js"
import { withSpan } from "../tracing.js"
import { detached } from "./detached.js"
import { backgroundProblem } from "./policy.js"
import * as Closing from "./snapshotterClosing.js"
import * as Slots from "./snapshotterSlots.js"
import * as Telemetry from "./telemetry.js"

export interface Snapshotter {
  /** Asks for a snapshot. Returns false if the queue is full or closed, or an earlier save of the stream hangs. */
  readonly offer: (request: Slots.Request) => boolean
  /** Waits until nothing is pending. */
  readonly awaitPending: Effect.Effect<void>
  /** How many streams wait or are being written. */
  readonly pending: Effect.Effect<number>
}

export interface Options extends SnapshotPolicy.BackgroundOptions {
  /** Whether the closing fiber is inside a transaction that saves may wait for: then it does not wait. */
  readonly inTransaction?: Effect.Effect<boolean> | undefined
}

/** Starts the workers. They keep the default services, loggers and scheduler of the fiber, and no other locals. */
export const make = (
  aggregate: string,
  options: Options = {}
): Effect.Effect<Snapshotter, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const problem = backgroundProblem(options)
    if (problem !== undefined) return yield* problem
    const slots = Slots.make(options.capacity ?? 1_024, Counters.saves(aggregate))
    const worker = makeWorker(slots, options.timeout ?? Duration.seconds(5), options.retry ?? defaultRetry)
    const closing = {
      aggregate,
      slots,
      drainTimeout: options.drainTimeout ?? Duration.seconds(5),
      inTransaction: options.inTransaction ?? Effect.succeed(false)
    }

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
  timeout: Duration.DurationInput,
  retry: Schedule.Schedule<unknown, unknown>
): Effect.Effect<never> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(slots.work.await), () => {
      const slot = Slots.take(slots)
      if (slot === undefined) return Effect.void
      const writes = Effect.forEach(
        slot,
        (request) => write(slots, request, Effect.retry(attempt(slots, request, timeout), retry)),
        { discard: true }
      )
      return Effect.ensuring(restore(writes), Effect.sync(() => Slots.release(slots, Slots.keyOf(slot[0].stream))))
    })
  ).pipe(Effect.forever, Effect.interruptible, detached)

const write = (
  { saves }: Slots.Slots,
  { stream: { aggregate, id } }: Slots.Request,
  saved: Effect.Effect<unknown, unknown>
): Effect.Effect<void> =>
  saved.pipe(
    Effect.matchEffect({
      onFailure: (error) => {
        const message = "a background snapshot failed; the stream is asked again when it is next due"
        return Effect.zipRight(Telemetry.warn(message, error, { aggregate, id }), Effect.sync(saves.failed))
      },
      onSuccess: (taken) => taken === false ? Effect.void : Effect.sync(saves.done)
    }),
    (saving) =>
      withSpan(saving, "Snapshotter.write", {
        attributes: { "eventsourcing.aggregate": aggregate, "eventsourcing.id": id }
      }),
    // a schedule, a logger or a tracer that throws does not end the worker
    Effect.catchAllCause(() => Effect.sync(saves.failed))
  )

/**
 * Tries a save once. The try is a fiber of its own: a save that cannot be interrupted delays neither the worker nor the
 * closing of the scope. After the timeout without a heartbeat the try is interrupted, and has as much time to end.
 */
const attempt = (
  slots: Slots.Slots,
  request: Slots.Request,
  timeout: Duration.DurationInput
): Effect.Effect<unknown, unknown> =>
  Effect.uninterruptibleMask((restore) => {
    const key = Slots.keyOf(request.stream)
    if (slots.running.has(key)) return new Cause.TimeoutException("the previous save still runs")
    let progress = false
    const heartbeat = () => {
      progress = true
    }
    const save = Effect.suspend(() => request.save(heartbeat))
    return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(save)), (fiber) => {
      Slots.start(slots, key, request)
      fiber.addObserver(() => Slots.end(slots, key))
      const ended = Effect.timeoutOption(Fiber.await(fiber), timeout)
      const inTime: Effect.Effect<Option.Option<Exit.Exit<unknown, unknown>>> = Effect.suspend(() => {
        progress = false
        return Effect.flatMap(ended, (exit) => exit._tag === "None" && progress ? inTime : Effect.succeed(exit))
      })
      const result = Effect.flatMap(inTime, (exit) =>
        exit._tag === "Some" ? exit.value : Fiber.interruptFork(fiber).pipe(
          Effect.zipRight(ended),
          Effect.zipRight(new Cause.TimeoutException("the save took too long"))
        ))
      return Effect.onInterrupt(restore(result), () => Fiber.interruptFork(fiber))
    })
  }).pipe(
    // a store may fail in any way, and every failure is tried again
    Effect.catchAllCause((cause) => Effect.fail(Cause.squash(cause)))
  )
