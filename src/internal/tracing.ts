// Makes spans only if a tracer is configured, because a span costs as much as a statement. An operation does not fail
// if its tracer or span throws, because its events may already be stored.
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

// Effect's own tracer makes spans that are not exported
const liveTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** Tells whether a tracer is configured, and enabled for the fiber. */
export const isTraced = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.currentTracer !== liveTracer && fiber.getFiberRef(FiberRef.currentTracerEnabled)

export type Attributes = Readonly<Record<string, unknown>>

export interface SpanOptions {
  readonly attributes: Attributes
  readonly kind?: Tracer.SpanKind | undefined
  readonly root?: boolean | undefined
  readonly links?: ReadonlyArray<Tracer.SpanLink> | undefined
}

/** Runs an effect in a span if a tracer is configured. */
export const withSpan = <A, E>(
  effect: Effect.Effect<A, E>,
  name: string,
  options: SpanOptions
): Effect.Effect<A, E> => Effect.withFiberRuntime((fiber) => isTraced(fiber) ? inSpan(effect, name, options) : effect)

/** Runs an effect in a span, for callers that know that a tracer is configured. */
export const inSpan = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  name: string,
  options: SpanOptions
): Effect.Effect<A, E, R> =>
  // nothing can interrupt the fiber between the beginning of the span and its finalizer
  Effect.uninterruptibleMask((restore) =>
    Effect.matchCauseEffect(Effect.makeSpan(name, { ...options, captureStackTrace: false }), {
      // without a span of its own the operation must not write to that of the caller
      onFailure: () => restore(Effect.withTracerEnabled(effect, false)),
      onSuccess: (span) => Effect.onExit(restore(Effect.withParentSpan(effect, span)), (exit) => ended(span, exit))
    })
  )

const ended = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) =>
    Effect.clockWith((clock) => {
      const isTimed = fiber.getFiberRef(FiberRef.currentTracerTimingEnabled)
      return contained(() => span.end(isTimed ? clock.unsafeCurrentTimeNanos() : BigInt(0), withoutValues(exit)))
    })
  )

/** Adds attributes to the current span if a tracer is configured. */
export const annotate = (attributes: () => Attributes): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) =>
    isTraced(fiber)
      ? contained(() => {
        const span = fiber.currentSpan
        if (span?._tag !== "Span") return
        for (const [name, value] of Object.entries(attributes())) span.attribute(name, value)
      })
      : Effect.void
  )

/**
 * The exit as a span may have it. Exporters write the message of an error, its stack and its causes to the trace: a rejection
 * may show the values of its fields there, and the cause of a library error the values that did not decode.
 */
const withoutValues = (exit: Exit.Exit<unknown, unknown>): Exit.Exit<unknown, unknown> => {
  if (Exit.isSuccess(exit)) return Exit.void
  const { cause } = exit
  if (Cause.isInterruptedOnly(cause)) return exit
  return Option.match(Cause.failureOption(cause), {
    onNone: () => Exit.die(told(Cause.squash(cause), "a defect")),
    onSome: (error) => Exit.fail(told(error, "an error"))
  })
}

const told = (error: unknown, other: string): Error => {
  const name = tagOf(error)
  const told = new Error(isOwn(error) ? error.message : name ?? other)
  told.name = name ?? "Error"
  told.stack = `${told.name}: ${told.message}`
  return told
}

// the messages of the library's own errors have no values
const isOwn = (error: unknown): error is Error => {
  try {
    const identifier: unknown = error instanceof Error ? Reflect.get(error.constructor, "identifier") : undefined
    return typeof identifier === "string" && identifier.startsWith("effect-eventsourcing/")
  } catch {
    return false
  }
}

const contained = (act: () => void): Effect.Effect<void> => {
  try {
    act()
  } catch {
    // the operation goes on
  }
  return Effect.void
}

/** The tag of an error, by the conventions `_OTHER` if it has none. */
export const errorTypeOf = (error: unknown): string => tagOf(error) ?? "_OTHER"

const tagOf = (error: unknown): string | undefined => {
  try {
    const tag: unknown = typeof error === "object" && error !== null ? Reflect.get(error, "_tag") : undefined
    return typeof tag === "string" ? tag : undefined
  } catch {
    // a rejection is a value of the program, and may be a proxy
    return undefined
  }
}
