// Keeps the trace context of a command in the metadata of its events, and links the spans of a consumer to it.
// The format is the W3C's: https://www.w3.org/TR/trace-context.
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { isTraced } from "./tracing.js"

/** Returns the trace context of a fiber as metadata. It has none if its span is not one that other programs can name. */
export const metadataOf = (context: Context.Context<never>): { readonly traceparent?: string } => {
  const parent = Context.getOption(context, Tracer.ParentSpan)
  if (Option.isNone(parent)) return {}
  try {
    const { sampled, spanId, traceId } = parent.value
    const traceparent = `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`
    return Option.isSome(parse(traceparent)) ? { traceparent } : {}
  } catch {
    // the span is the tracer's
    return {}
  }
}

/** Reads a stored trace context. A value that is not one is `None`: metadata may have been edited. */
export const parse = (traceparent: unknown): Option.Option<Tracer.ExternalSpan> => {
  const fields = typeof traceparent === "string" ? format.exec(traceparent) : null
  if (fields === null) return Option.none()
  const [, version, traceId, spanId, flags, more] = fields
  // a later version may add fields
  if (version === "ff" || (version === "00" && more !== undefined)) return Option.none()
  return zeros.test(traceId) || zeros.test(spanId)
    ? Option.none()
    : Option.some(Tracer.externalSpan({ traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }))
}

const format = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

const zeros = /^0+$/

/** An event, as far as a link needs it. */
export interface Linkable {
  readonly id: string
  readonly metadata: Readonly<Record<string, unknown>>
}

/**
 * Links the outermost spans of an effect to the span that an event carries. `Effect.linkSpans` would link each span inside
 * of them too, down to the statements.
 */
export const linked = <A, E, R>(effect: Effect.Effect<A, E, R>, recorded: Linkable): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) =>
    isTraced(fiber)
      ? Option.match(linkTo(recorded), {
        onNone: () => effect,
        onSome: (link) => Effect.withTracer(effect, linking(fiber.currentTracer, link))
      })
      : effect
  )

/** Links to the spans that events carry, one for each span, up to a number. */
export const linksTo = (events: ReadonlyArray<Linkable>, most: number): ReadonlyArray<Tracer.SpanLink> => {
  const links = new Map<string, Tracer.SpanLink>()
  for (const event of events) {
    if (links.size >= most) break
    const link = Option.getOrUndefined(linkTo(event))
    if (link !== undefined && !links.has(link.span.spanId)) links.set(link.span.spanId, link)
  }
  return Array.from(links.values())
}

const linkTo = (recorded: Linkable): Option.Option<Tracer.SpanLink> => {
  try {
    const { id, metadata } = recorded
    return Option.map(parse(metadata.traceparent), (span) => ({
      _tag: "SpanLink",
      span,
      attributes: { "eventsourcing.event_id": id }
    }))
  } catch {
    // untyped code may give an event without metadata, and a trace must not fail its handler
    return Option.none()
  }
}

const linking = (tracer: Tracer.Tracer, link: Tracer.SpanLink): Tracer.Tracer => {
  const inner = new WeakSet<Tracer.AnySpan>()
  return Tracer.make({
    span: (name, parent, context, links, ...rest) => {
      const isInner = Option.exists(parent, (span) => inner.has(span))
      const span = tracer.span(name, parent, context, isInner ? links : [...links, link], ...rest)
      inner.add(span)
      return span
    },
    context: (f, fiber) => tracer.context(f, fiber)
  })
}
