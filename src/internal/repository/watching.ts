// Watches commands: makes a span for each if a tracer is configured, and counts them if the metrics of commands are on.
// Mechanism: a record beside the command notes its attempts. At the end, the result becomes attributes and counts.
// Cost: two comparisons for a command that neither a tracer nor a meter watches.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import { streamProblem } from "../streamProblem.js"
import * as TraceContext from "../traceContext.js"
import * as Tracing from "../tracing.js"
import type { CommandMeter, Outcome } from "./commandMeter.js"
import type { Loadable } from "./loadable.js"
import type { Services } from "./services.js"
import { tagOf } from "./storedEvents.js"

/** Follows one command. */
export interface Watch {
  /** How often the command was decided, or was refused because of its expected version. */
  attempts: number
  /**
   * Whether the expected version refused the command. The conflict alone does not show it, because a rejection may be
   * any value.
   */
  refused: boolean
  readonly ended: (exit: Ended) => Effect.Effect<void>
}

/** A rejection, and a version that the caller did not expect, are values until the command has ended. */
type Ended = Exit.Exit<Either.Either<Result, unknown>, unknown>

interface Result {
  readonly version: number
  readonly events: ReadonlyArray<unknown>
  readonly duplicate: boolean
}

/** The part of a repository's services that this module needs. */
interface Watched<in Id> extends Pick<Services<Id, never, never>, "commandTags" | "meter"> {
  readonly loadable: Pick<Loadable<Id, never>, "name" | "streamOf">
}

/** Runs commands, and watches them if a tracer or a meter exists. Their events carry the trace context of the span. */
export const command = <Id, A, E>(
  watched: Watched<Id>,
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  { commands, id }: { readonly id: Id; readonly commands: ReadonlyArray<unknown> },
  run: (trace: Event.Metadata, watch: Watch | undefined) => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  const traced = Tracing.isTraced(fiber)
  if (!traced && watched.meter === undefined) return run({}, undefined)
  const tags = tagsIn(watched.commandTags, commands)
  const watch = makeWatch(watched.meter, tags)
  if (!traced) return run({}, watch)
  const inSpan = Effect.withFiberRuntime<A, E>((inner) =>
    // if the tracer throws, the command has no span, and the context would be that of the caller's span
    run(Tracing.isTraced(inner) ? TraceContext.metadataOf(inner.currentContext) : {}, watch)
  )
  const ofCommand = tags.length === 0 ? {} : { "eventsourcing.command": Array.from(new Set(tags)).join(", ") }
  return Tracing.inSpan(inSpan, "Repository.execute", { attributes: { ...attributesOf(watched, id), ...ofCommand } })
}

/** Runs an operation of a repository on one aggregate in a span, if a tracer is configured. */
export const operation = <Id, A, E>(
  watched: Watched<Id>,
  name: string,
  id: Id,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.withFiberRuntime((fiber) =>
    Tracing.isTraced(fiber)
      ? Tracing.inSpan(effect, name, { attributes: attributesOf(watched, id) })
      : effect
  )

const attributesOf = <Id>({ loadable }: Watched<Id>, id: Id): Tracing.Attributes => {
  const aggregate = { "eventsourcing.aggregate": loadable.name }
  const stream = Option.getRight(loadable.streamOf(id))
  // an id that no store accepts may have any length
  return Option.isNone(stream) || streamProblem(stream.value) !== undefined
    ? aggregate
    : { ...aggregate, "eventsourcing.id": stream.value.id }
}

const makeWatch = (meter: CommandMeter | undefined, tags: ReadonlyArray<string>): Watch => {
  const watch: Watch = {
    attempts: 0,
    refused: false,
    ended: (exit) => {
      const { attempts } = watch
      const outcome = outcomeOf(exit, watch)
      meter?.ended(tags, outcome, attempts)
      return Tracing.annotate(() => ({
        "eventsourcing.outcome": outcome,
        "eventsourcing.attempts": attempts,
        ...resultOf(exit)
      }))
    }
  }
  return watch
}

const outcomeOf = (exit: Ended, { refused }: Watch): Outcome => {
  if (Exit.isFailure(exit)) {
    if (Cause.isInterrupted(exit.cause)) return "Interrupted"
    return Option.exists(Cause.failureOption(exit.cause), isConflict) ? "Conflict" : "Failed"
  }
  if (Either.isLeft(exit.value)) return refused ? "Conflict" : "Rejected"
  const { duplicate, events } = exit.value.right
  return duplicate ? "Duplicate" : events.length === 0 ? "Empty" : "Committed"
}

const isConflict = (error: unknown): boolean => error instanceof EventStore.VersionConflict

const resultOf = (exit: Ended): Tracing.Attributes => {
  if (Exit.isFailure(exit)) return { "error.type": Tracing.errorTypeOf(Cause.squash(exit.cause)) }
  if (Either.isLeft(exit.value)) return { "error.type": Tracing.errorTypeOf(exit.value.left) }
  const { duplicate, events, version } = exit.value.right
  return {
    "eventsourcing.events": events.length,
    "eventsourcing.version": version,
    "eventsourcing.duplicate": duplicate
  }
}

/**
 * The tag of each command, or `unknown` for a tag that the command schema does not declare, which could be any text.
 */
const tagsIn = (known: ReadonlySet<string>, commands: ReadonlyArray<unknown>): ReadonlyArray<string> => {
  try {
    // untyped code may give another value than an array, and the array may be a proxy
    return Array.isArray(commands) ? Array.from(commands, (command) => nameOf(known, tagOf(command))) : []
  } catch {
    return []
  }
}

const nameOf = (known: ReadonlySet<string>, tag: string): string => known.has(tag) ? tag : "unknown"
