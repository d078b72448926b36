import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"

// how a program runs and is observed
const kept = new Set<unknown>([
  // clock, tracer, random numbers, configuration, console
  DefaultServices.currentServices,
  FiberRef.currentLoggers,
  FiberRef.currentMinimumLogLevel,
  FiberRef.unhandledErrorLogLevel,
  FiberRef.currentTracerEnabled,
  FiberRef.currentTracerTimingEnabled,
  FiberRef.currentScheduler,
  FiberRef.currentSchedulingPriority,
  FiberRef.currentMaxOpsBeforeYield,
  FiberRef.currentSupervisor,
  // these are the fiber's own
  FiberRef.currentRuntimeFlags,
  FiberRef.interruptedCause
])

/** Runs an effect without its starter's locals: that fiber may be in a transaction, a span or a request. */
export const detached = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Effect.getFiberRefs, (refs) =>
    Array.from(FiberRefs.fiberRefs(refs))
      .filter((ref) => !kept.has(ref))
      .reduce((effect, ref) => Effect.locally(effect, ref, FiberRefs.getOrDefault(FiberRefs.empty(), ref)), effect))
