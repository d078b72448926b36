/**
 * Takes snapshots in the background: a few supervised fibers, one slot for each stream, the latest version wins.
 *
 * A repository in background mode makes its own; it is public for those who build a repository of another kind.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Metrics from "./Metrics.js"
import type * as SnapshotPolicy from "./SnapshotPolicy.js"
import type * as StreamId from "./StreamId.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshotter {
  /**
   * Notes that a stream is due. It never waits and never fails; it gives false where the request was dropped, because
   * the snapshotter is full or closed.
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
 * says how many that were. The stores are still open then, as the snapshotter was made after them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  aggregate: string,
  options: SnapshotPolicy.BackgroundOptions = {}
): Effect.Effect<Snapshotter, never, Scope.Scope> =>
  Effect.gen(function*() {
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
    const active = new Set<string>()
    const work = Effect.unsafeMakeLatch(false)
    const idle = Effect.unsafeMakeLatch(true)
    const metrics = Metrics.snapshotter(aggregate)
    let open = true

    const keyOf = ({ aggregate, id }: StreamId.StreamId) => JSON.stringify([aggregate, id])
    const waiting = () => ready.size + behind.size
    const pending = () => waiting() + active.size

    const settle = () => {
      metrics.pending(pending())
      if (pending() === 0) idle.unsafeOpen()
      else idle.unsafeClose()
      if (ready.size > 0) work.unsafeOpen()
      else work.unsafeClose()
    }

    const offer = (request: Request): boolean => {
      const key = keyOf(request.stream)
      const queue = active.has(key) ? behind : ready
      const current = queue.get(key)
      if (!open || (current === undefined && waiting() >= capacity)) {
        metrics.dropped()
        return false
      }
      if (current === undefined || request.version >= current.version) queue.set(key, request)
      settle()
      return true
    }

    const take = Effect.sync(() => {
      for (const [key, request] of ready) {
        ready.delete(key)
        active.add(key)
        settle()
        return request
      }
      return undefined
    })

    const release = (request: Request) =>
      Effect.sync(() => {
        const key = keyOf(request.stream)
        active.delete(key)
        const next = behind.get(key)
        if (next !== undefined) {
          behind.delete(key)
          ready.set(key, next)
        }
        settle()
      })

    const report = ({ stream }: Request, cause: Cause.Cause<unknown>) =>
      Effect.logWarning("a background snapshot failed; the stream is asked again when it is next due", cause).pipe(
        Effect.annotateLogs({ aggregate: stream.aggregate, id: stream.id }),
        Effect.zipRight(Effect.sync(metrics.failed))
      )

    const write = (request: Request) =>
      Effect.suspend(() => request.save).pipe(
        Effect.disconnect,
        Effect.timeoutFail({
          duration: timeout,
          onTimeout: () => new Cause.TimeoutException("the save took too long")
        }),
        Effect.retry(retry),
        Effect.matchCauseEffect({
          onFailure: (cause) => report(request, cause),
          onSuccess: () => Effect.sync(metrics.done)
        }),
        Effect.withSpan("Snapshotter.write", {
          root: true,
          captureStackTrace: false,
          attributes: { aggregate: request.stream.aggregate, id: request.stream.id }
        })
      )

    const worker = Effect.uninterruptibleMask((restore) =>
      restore(work.await).pipe(
        Effect.zipRight(take),
        Effect.flatMap((request) =>
          request === undefined ? Effect.void : restore(write(request)).pipe(
            Effect.ensuring(release(request))
          )
        )
      )
    ).pipe(
      Effect.forever,
      Effect.interruptible,
      // whoever builds the layer may be inside a transaction or a span: the workers are in neither
      Effect.locally(FiberRef.currentContext, Context.empty())
    )
    yield* Effect.replicateEffect(Effect.forkScoped(worker), workers)

    // finalizers run last first: registered after the forks, so that the workers still live while it waits for them
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        open = false
        return idle.await.pipe(
          Effect.interruptible,
          Effect.timeoutOption(drainTimeout),
          Effect.flatMap((drained) =>
            drained._tag === "Some" ? Effect.void : Effect.logWarning(
              `${pending()} background snapshots were abandoned: the drain timeout is over`
            ).pipe(
              Effect.annotateLogs({ aggregate, waiting: waiting(), active: active.size })
            )
          )
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
