/**
 * Takes snapshots in the background: a few supervised fibers, one slot for each stream, the latest version wins.
 *
 * A repository in background mode makes its own; it is public for those who build a repository of another kind.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { ofNobody } from "./internal/repository/detached.js"
import * as Logs from "./internal/repository/logs.js"
import { backgroundProblem } from "./internal/repository/policy.js"
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
  /**
   * Told by a save that it got on: the time that it has until it counts as hanging begins anew. A long replay tells so
   * with every page.
   */
  readonly headway: (stream: StreamId.StreamId) => void
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
  /**
   * A request replaces a waiting one of the same stream and kind unless its version is lower. `Infinity` is for one that
   * makes up for any other, whatever it finds.
   */
  readonly version: number
  /**
   * Whether the version may yet come to nothing, as inside an open transaction. Such requests are a kind of their own:
   * they wait beside what is known to be due, and are saved after it. Default false.
   */
  readonly tentative?: boolean | undefined
  /** Takes the snapshot, or gives `false` if none is due any more. It is run by a worker, in no context of the caller. */
  readonly save: Effect.Effect<unknown, unknown>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends SnapshotPolicy.BackgroundOptions {
  /**
   * Whether the fiber that runs it is inside a transaction that the saves may have to wait for. Closing the scope in such
   * a one waits for nothing. Default: it never is.
   */
  readonly inTransaction?: Effect.Effect<boolean> | undefined
}

/**
 * Starts the workers. Closing the scope waits for what is pending, at most `drainTimeout`, then interrupts the rest, says
 * which streams those were, and gives what was interrupted as long again to end, but no more than a second. The stores
 * are still open then, as the snapshotter was made after them.
 *
 * The workers have the clock, tracer, random numbers, configuration, console, loggers, minimum log level, scheduler and
 * supervisor of the fiber that builds them. No other local of it is theirs: no service, transaction, span, annotation or
 * `FiberRef`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  aggregate: string,
  options: Options = {}
): Effect.Effect<Snapshotter, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const problem = backgroundProblem(options)
    if (problem !== undefined) return yield* problem
    const {
      capacity = 1_024,
      drainTimeout = Duration.seconds(5),
      inTransaction = Effect.succeed(false),
      retry = defaultRetry,
      timeout = Duration.seconds(5),
      workers = 2
    } = options
    // a stream is in one of three places, or in active and behind: nothing below looks through them
    const ready = new Map<string, Slot>()
    const behind = new Map<string, Slot>()
    const active = new Map<string, Slot>()
    // the tries that have not ended; of a stream in abandoned one goes on although no worker waits for it any more
    const running = new Map<string, Try>()
    const abandoned = new Set<string>()
    const work = Effect.unsafeMakeLatch(false)
    const idle = Effect.unsafeMakeLatch(true)
    const overflow = Effect.unsafeMakeLatch(false)
    const quiet = Effect.unsafeMakeLatch(true)
    const metrics = Metrics.snapshotter(aggregate)
    let open = true
    let closedInTransaction = false
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
      queue.set(key, merge(current, request))
      settle()
      return true
    }

    const take = Effect.sync(() => {
      for (const [key, slot] of ready) {
        ready.delete(key)
        active.set(key, slot)
        settle()
        return slot
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
    const attempt = (key: string, request: Request): Effect.Effect<unknown, unknown> =>
      Effect.uninterruptibleMask((restore) => {
        if (running.has(key)) return new Cause.TimeoutException("the save before it goes on")
        return Effect.flatMap(Effect.forkDaemon(Effect.interruptible(Effect.suspend(() => request.save))), (fiber) => {
          const current: Try = { request, fiber, headway: false }
          running.set(key, current)
          quiet.unsafeClose()
          fiber.addObserver(() => {
            running.delete(key)
            if (running.size === 0) quiet.unsafeOpen()
            if (abandoned.has(key)) free(key)
          })
          const ended = Effect.timeoutOption(Fiber.await(fiber), timeout)
          const inTime: Effect.Effect<Option.Option<Exit.Exit<unknown, unknown>>> = Effect.suspend(() => {
            current.headway = false
            return Effect.flatMap(
              ended,
              (exit) => exit._tag === "None" && current.headway ? inTime : Effect.succeed(exit)
            )
          })
          return restore(Effect.flatMap(inTime, (exit) =>
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
      Logs.warn("a background snapshot failed; the stream is asked again when it is next due", error, {
        aggregate: stream.aggregate,
        id: stream.id
      }).pipe(Effect.zipRight(Effect.sync(metrics.failed)))

    const write = (key: string, request: Request) =>
      attempt(key, request).pipe(
        // a store may fail in any way: all are tried again
        Effect.catchAllCause((cause) => Effect.fail(Cause.squash(cause))),
        Effect.retry(retry),
        Effect.matchEffect({
          onFailure: (error) => report(request, error),
          onSuccess: (taken) => taken === false ? Effect.void : Effect.sync(metrics.done)
        }),
        Effect.withSpan("Snapshotter.write", {
          captureStackTrace: false,
          attributes: { "eventsourcing.aggregate": request.stream.aggregate, "eventsourcing.id": request.stream.id }
        }),
        // not even a schedule, a logger or a tracer that throws ends the worker
        Effect.catchAllCause(() => Effect.sync(metrics.failed))
      )

    const worker = Effect.uninterruptibleMask((restore) =>
      restore(work.await).pipe(
        Effect.zipRight(take),
        Effect.flatMap((slot) => {
          if (slot === undefined) return Effect.void
          const key = keyOf(slot[0].stream)
          const writes = Effect.forEach(slot, (request) => write(key, request), { discard: true })
          return Effect.ensuring(restore(writes), release(key))
        })
      )
    ).pipe(Effect.forever, Effect.interruptible, ofNobody)

    const logRunning = Effect.suspend(() =>
      Logs.notice(
        "background snapshots could not be interrupted: they go on while the stores close: " +
          namesOf([...running.values()].map(({ request }) => [request])),
        { aggregate, running: running.size }
      )
    )
    // finalizers run last first: when this one does the workers have interrupted their tries, and the stores are open
    yield* Effect.addFinalizer(() =>
      quiet.await.pipe(
        Effect.interruptible,
        Effect.timeoutOption(Duration.min(drainTimeout, mostAfterInterruption)),
        Effect.flatMap((ended) => ended._tag === "Some" ? Effect.void : logRunning),
        Effect.catchAllCause(() => Effect.void)
      )
    )
    yield* Effect.replicateEffect(Effect.forkScoped(worker), workers)

    const logDropped = Effect.suspend(() => {
      if (dropped === 0) return Effect.void
      const count = dropped
      dropped = 0
      overflow.unsafeClose()
      const message = `${count} due background snapshots were dropped; a later command or load asks again`
      return Logs.notice(message, { aggregate, dropped: count, waiting: waiting(), capacity })
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
      const why = closedInTransaction ? "the scope was closed inside a transaction" : "the drain timeout is over"
      const log = Logs.notice(
        `background snapshots were abandoned, as ${why}; the streams are asked again when they are next due: ` +
          namesOf([...active.values(), ...ready.values(), ...behind.values()]),
        { aggregate, waiting: waiting(), active: active.size }
      )
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
        const drained = idle.await.pipe(
          Effect.interruptible,
          Effect.timeoutOption(drainTimeout),
          Effect.flatMap((drained) => drained._tag === "Some" ? Effect.void : abandon)
        )
        // what the saves wait for is held by whoever waits for them here
        return (closedInTransaction ? Effect.when(abandon, () => pending() > 0) : drained).pipe(
          Effect.zipRight(logDropped),
          Effect.catchAllCause(() => Effect.void)
        )
      })
    )
    // it sees the context of the fiber that closes the scope; the one before has that of the fiber that built it
    yield* Effect.flatMap(Effect.scope, (scope) =>
      Scope.addFinalizer(
        scope,
        Effect.map(inTransaction, (open) => {
          closedInTransaction = open
        })
      ))

    return {
      offer,
      headway: (stream) => {
        const current = running.get(keyOf(stream))
        if (current !== undefined) current.headway = true
      },
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

// what was interrupted may need a round trip to end; who closes is not kept waiting for what never does
const mostAfterInterruption = Duration.seconds(1)

/** What is asked of a stream: at most one request of each kind, that which is known to be due before the other. */
type Slot = readonly [Request, ...ReadonlyArray<Request>]

interface Try {
  readonly request: Request
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  headway: boolean
}

const merge = (slot: Slot | undefined, request: Request): Slot => {
  if (slot === undefined) return [request]
  const tentative = request.tentative === true
  const same = slot.find((waiting) => (waiting.tentative === true) === tentative)
  const other = slot.find((waiting) => waiting !== same)
  const latest = same === undefined || request.version >= same.version ? request : same
  return other === undefined ? [latest] : tentative ? [other, latest] : [latest, other]
}

const namesOf = (slots: ReadonlyArray<Slot>): string => {
  const named = slots.slice(0, mostNamed).map(([{ stream, version }]) =>
    Number.isFinite(version) ? `${StreamId.format(stream)} at ${version}` : StreamId.format(stream)
  )
  const more = slots.length - named.length
  return `${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`
}
