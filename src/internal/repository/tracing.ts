import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import * as Tracer from "effect/Tracer"

// Effect's own tracer makes spans that nobody reads
const nobody = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** @internal */
export const isTraced = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean => fiber.currentTracer !== nobody

/**
 * Whether a log of this level gets to the loggers.
 *
 * @internal
 */
export const isLogged = (fiber: Fiber.RuntimeFiber<unknown, unknown>, level: LogLevel.LogLevel): boolean =>
  LogLevel.lessThanEqual(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), level)

/**
 * `Effect.withSpan`, where somebody traces: a span costs as much as a statement.
 *
 * @internal
 */
export const withSpan = <A, E>(
  effect: Effect.Effect<A, E>,
  name: string,
  attributes: Readonly<Record<string, unknown>>
): Effect.Effect<A, E> =>
  Effect.withFiberRuntime((fiber) =>
    isTraced(fiber) ? Effect.withSpan(effect, name, { captureStackTrace: false, attributes }) : effect
  )

/**
 * `Effect.annotateCurrentSpan` for a span that {@link withSpan} made.
 *
 * @internal
 */
export const annotate = (attributes: () => Readonly<Record<string, unknown>>): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => isTraced(fiber) ? Effect.annotateCurrentSpan(attributes()) : Effect.void)
