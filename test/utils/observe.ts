import { Cause, Effect, Exit, HashMap, Logger, LogLevel, Metric, Option, Tracer } from "effect"

export interface Line {
  readonly level: string
  readonly message: string
  readonly annotations: Readonly<Record<string, unknown>>
}

/** Every line that is logged from here on, whatever its level. */
export const lines = Effect.sync(() => {
  const logged: Array<Line> = []
  const logger = Logger.make(({ annotations, logLevel, message }) => {
    logged.push({
      level: logLevel.label,
      message: (Array.isArray(message) ? message : [message]).map(String).join(" "),
      annotations: Object.fromEntries(HashMap.toEntries(annotations))
    })
  })
  return {
    logged,
    observed: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      effect.pipe(
        Logger.withMinimumLogLevel(LogLevel.All),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
  }
})

/** A configured tracer, which keeps every span in the order in which they began. */
export const tracing = Effect.map(Effect.tracer, (native) => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (...args) => {
      const span = native.span(...args)
      spans.push(span)
      return span
    },
    context: native.context
  })
  return { spans, traced: Effect.withTracer(tracer) }
})

/** The value of a counter, with these tags. */
export const counted = (
  counter: Metric.Metric.Counter<number>,
  tags: Readonly<Record<string, string>>
): Effect.Effect<number> =>
  Effect.map(
    Metric.value(
      Object.entries(tags).reduce((metric, [key, value]) => Metric.tagged(metric, key, value), counter)
    ),
    ({ count }) => count
  )

/** Asks again, letting other fibers run, until it is so. */
export const eventually = <E, R>(check: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    const deadline = Date.now() + 20_000
    return check.pipe(
      Effect.tap(() => Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))),
      Effect.repeat({ until: (done) => done || Date.now() > deadline }),
      Effect.filterOrDieMessage((done) => done, "it did not come about"),
      Effect.asVoid
    )
  })

/** The error of an effect that failed, and neither died nor was interrupted. */
export const typedFailure = <A, E>(exit: Exit.Exit<A, E>): E => {
  if (Exit.isSuccess(exit)) throw new Error("expected a failure")
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) throw new Error(`expected a typed failure, got ${Cause.pretty(exit.cause)}`)
  return failure.value
}
