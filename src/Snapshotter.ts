/**
 * Takes snapshots in the background: a few supervised fibers, one slot for each stream, the latest version wins.
 *
 * A repository in background mode makes its own; it is public for those who build a repository of another kind.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import * as List from "effect/List"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { backgroundProblem } from "./internal/options.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as Metrics from "./Metrics.js"
import type * as SnapshotPolicy from "./SnapshotPolicy.js"
import * as StreamId from "./StreamId.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshotter {
  /**
   * Notes that a stream is due. It never waits and never fails; it gives false where the request was dropped, because
   * the snapshotter is full or closed, or because an earlier save of the stream hangs and cannot be interrupted.
   */
  readonly offer: (request: Request) => boolean
  /** Waits until nothing is pending. */
  readonly awaitPending: Effect.Effect<void>
  /** How many streams wait or are being written. */
  readonly pending: Effect.Effect<number>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly stream: StreamId.StreamId
  /** A request replaces a waiting one of the same stream unless its version is lower. */
  readonly version: number
  /** Takes the snapshot. It is run by a worker, in no context of the caller. */
  readonly save: Effect.Effect<unknown, unknown>
}

/**
 * Starts the workers. Closing the scope waits for what is pending, at most `drainTimeout`, then interrupts the rest and
 * says which streams those were. The stores are still open then, as the snapshotter was made after them.
 *
 * The workers log and tell the time as the fiber that builds them does; its transaction, span, log annotations and log
 * spans are not theirs.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  aggregate: string,
  options: SnapshotPolicy.BackgroundOptions = {}
): Effect.Effect<Snapshotter, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const problem = backgroundProblem(options)
    if (problem !== undefined) return yield* problem
    const {
      capacity = 1_024,
      drainTimeout = Duration.seconds(5),
      retry = defaultRetry,
      timeout = Duration.seconds(5),
      workers = 2
    } = options
    // a stream is in one of three places, or in active and behind: nothing below looks through them
    const ready = new Map<string, Request>()
    const behind = new Map<string, Request>()
    const active = new Map<string, Request>()
    // the tries that have not ended; of a stream in abandoned one goes on although no worker waits for it any more
    const running = new Map<string, Fiber.RuntimeFiber<unknown, unknown>>()
    const abandoned = new Set<string>()
    const work = Effect.unsafeMakeLatch(false)
    const idle = Effect.unsafeMakeLatch(true)
    const overflow = Effect.unsafeMakeLatch(false)
    const metrics = Metrics.snapshotter(aggregate)
    let open = true
    let counted = 0
    let dropped = 0

    const keyOf = ({ aggregate, id }: StreamId.StreamId) => JSON.stringify([aggregate, id])
    const waiting = () => ready.size + behind.size
    const pending = () => waiting() + active.size - abandoned.size

    const settle = () => {
      const now = pending()
      metrics.pending(now - counted)
      counted = now
      if (now === 0) idle.unsafeOpen()
      else idle.unsafeClose()
      if (ready.size > 0) work.unsafeOpen()
      else work.unsafeClose()
    }

    const drop = () => {
      metrics.dropped()
      dropped++
      overflow.unsafeOpen()
    }

    const offer = (request: Request): boolean => {
      const key = keyOf(request.stream)
      const queue = active.has(key) ? behind : ready
      const current = queue.get(key)
      if (!open || abandoned.has(key) || (current === undefined && waiting() + abandoned.size >= capacity)) {
        drop()
        return false
      }
      // a stream that is asked for again keeps its place
      if (current === undefined || request.version >= current.version) queue.set(key, request)
      settle()
      return true
    }

    const take = Effect.sync(() => {
      for (const [key, request] of ready) {
        ready.delete(key)
        active.set(key, request)
        settle()
        return request
      }
      return undefined
    })

    const free = (key: string) => {
      active.delete(key)
      abandoned.delete(key)
      const next = behind.get(key)
      if (next !== undefined) {
        behind.delete(key)
        ready.set(key, next)
      }
      settle()
    }

    const release = (key: string) =>
      Effect.sync(() => {
        if (!running.has(key)) return free(key)
        // two saves of a stream never run at a time: it is free when the one that hangs ends, if that ever happens
        abandoned.add(key)
        if (behind.delete(key)) drop()
        settle()
      })

    // a try is a fiber of its own: what cannot be interrupted holds up neither the worker nor the closing of the scope
    const attempt = (key: string, save: Request["save"]): Effect.Effect<unknown, unknown> =>
      Effect.uninterruptibleMask((restore) => {
        if (running.has(key)) return new Cause.TimeoutException("the save before it goes on")
        return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(Effect.suspend(() => save))), (fiber) => {
          running.set(key, fiber)
          fiber.addObserver(() => {
            running.delete(key)
            if (abandoned.has(key)) free(key)
          })
          const ended = Effect.timeoutOption(Fiber.await(fiber), timeout)
          return restore(Effect.flatMap(ended, (exit) =>
            exit._tag === "Some" ? exit.value : Fiber.interruptFork(fiber).pipe(
              Effect.zipRight(ended),
              Effect.zipRight(new Cause.TimeoutException("the save took too long"))
            ))).pipe(
              Effect.onInterrupt(() =>
                Fiber.interruptFork(fiber)
              )
            )
        })
      })

    const report = ({ stream }: Request, error: unknown) =>
      Effect.logWarning("a background snapshot failed; the stream is asked again when it is next due", error).pipe(
        Effect.annotateLogs({ aggregate: stream.aggregate, id: stream.id }),
        Effect.zipRight(Effect.sync(metrics.failed))
      )

    const write = (key: string, request: Request) =>
      attempt(key, request.save).pipe(
        // a store may fail in any way: all are tried again
        Effect.catchAllCause((cause) => Effect.fail(Cause.squash(cause))),
        Effect.retry(retry),
        Effect.matchEffect({
          onFailure: (error) => report(request, error),
          onSuccess: () => Effect.sync(metrics.done)
        }),
        Effect.withSpan("Snapshotter.write", {
          root: true,
          captureStackTrace: false,
          attributes: { aggregate: request.stream.aggregate, id: request.stream.id }
        }),
        // not even a schedule, a logger or a tracer that throws ends the worker
        Effect.catchAllCause(() => Effect.sync(metrics.failed))
      )

    const worker = Effect.uninterruptibleMask((restore) =>
      restore(work.await).pipe(
        Effect.zipRight(take),
        Effect.flatMap((request) => {
          if (request === undefined) return Effect.void
          const key = keyOf(request.stream)
          return Effect.ensuring(restore(write(key, request)), release(key))
        })
      )
    ).pipe(Effect.forever, Effect.interruptible, ofNobody)
    yield* Effect.replicateEffect(Effect.forkScoped(worker), workers)

    const logDropped = Effect.suspend(() => {
      if (dropped === 0) return Effect.void
      const count = dropped
      dropped = 0
      overflow.unsafeClose()
      return Effect.logWarning(`${count} due background snapshots were dropped; a later command or load asks again`)
        .pipe(
          Effect.annotateLogs({ aggregate, dropped: count, waiting: waiting(), capacity }),
          Effect.catchAllCause(() => Effect.void)
        )
    })
    yield* overflow.await.pipe(
      Effect.zipRight(logDropped),
      Effect.zipRight(Effect.sleep(betweenOverflowLogs)),
      Effect.forever,
      Effect.interruptible,
      ofNobody,
      Effect.forkScoped
    )

    const abandon = Effect.suspend(() => {
      const left = [...active.values(), ...ready.values(), ...behind.values()]
      const named = left.slice(0, mostNamed).map(({ stream, version }) => `${StreamId.format(stream)} at ${version}`)
      const more = left.length - named.length
      const log = Effect.logWarning(
        `background snapshots were abandoned, as the drain timeout is over; the streams are asked again when they are ` +
          `next due: ${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`
      ).pipe(Effect.annotateLogs({ aggregate, waiting: waiting(), active: active.size }))
      // whoever still waits for them is let go
      ready.clear()
      behind.clear()
      settle()
      return log
    })

    // finalizers run last first: registered after the forks, so that the workers still live while it waits for them
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        open = false
        return idle.await.pipe(
          Effect.interruptible,
          Effect.timeoutOption(drainTimeout),
          Effect.flatMap((drained) => drained._tag === "Some" ? Effect.void : abandon),
          Effect.zipRight(logDropped),
          Effect.catchAllCause(() => Effect.void)
        )
      })
    )

    return {
      offer,
      awaitPending: idle.await,
      pending: Effect.sync(pending)
    }
  })

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const defaultRetry = Schedule.exponential("100 millis").pipe(Schedule.intersect(Schedule.recurs(2)))

const betweenOverflowLogs = Duration.seconds(1)

const mostNamed = 20

// whoever builds the layer may be inside a transaction, a span or a request
const ofNobody = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  effect.pipe(
    Effect.locally(FiberRef.currentContext, Context.empty()),
    Effect.locally(FiberRef.currentLogAnnotations, HashMap.empty()),
    Effect.locally(FiberRef.currentLogSpan, List.empty()),
    Effect.locally(FiberRef.currentTracerSpanAnnotations, HashMap.empty()),
    Effect.locally(FiberRef.currentTracerSpanLinks, Chunk.empty())
  )
