// Handles the events of appends in their transactions, and tells the reader of the feed which events it need not handle.
//
// An append claims its events for its transaction: it notes how far its stream is handled, if all earlier events of the
// stream were. Otherwise it leaves them to the feed. The feed shows an event only when its transaction has ended, so that the
// reader sees the note if there is one. Why: docs/decisions/0128-inline-projections.md.
import * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { InvalidOption } from "../../InvalidOption.js"
import * as Position from "../../Position.js"
import { InlineProjectionError } from "../store/eventErrors.js"
import type { Appended, InlineHandler, InlineSeam } from "../store/inline.js"
import { streamText } from "../streamKey.js"
import { withSpan } from "../tracing.js"
import type { Item, Reading } from "./definition.js"
import * as Failures from "./failures.js"
import { within } from "./handlerTimeout.js"
import type { InlinePositions } from "./inlineModel.js"
import type { Key } from "./model.js"
import { noteFailure } from "./noteFailure.js"
import type { CheckpointStoreError } from "./storeErrors.js"
import type { Site } from "./worker.js"

/** What the inline handler of a process works with: it does not end with the loops. */
type Parts = Pick<Site, "key" | "checkpoints" | "events" | "options" | "report" | "meter">

/** The handler of a definition. */
export interface Handle<in E, out R> {
  (events: Arr.NonEmptyReadonlyArray<E>): Effect.Effect<unknown, unknown, R>
}

/** Handles the events of appends until the scope closes. */
export const follow = <E, R>(
  subject: string,
  site: Parts,
  reading: Reading<E>,
  handle: Handle<E, R>
): Effect.Effect<void, InvalidOption, Scope.Scope | R> =>
  Effect.gen(function*() {
    const { positions, seam } = yield* sharedBy(subject, site)
    const services = yield* Effect.context<R>()
    const inline: Inline<E> = {
      site,
      reading,
      positions,
      handle: (events) =>
        Effect.contextWithEffect((caller: Context.Context<never>) =>
          Effect.mapInputContext(
            Effect.suspend(() => handle(events)),
            (_: Context.Context<never>) => seam.joined(services, caller)
          )
        )
    }
    const handler: InlineHandler = {
      order: `${site.key.name} ${site.key.version}`,
      aggregates: new Set(reading.aggregates),
      handle: (appended) => handleAppended(inline, appended)
    }
    yield* Effect.acquireRelease(Effect.sync(() => seam.add(handler)), (end) => Effect.sync(end))
  })

const sharedBy = (
  subject: string,
  { checkpoints, events }: Parts
): Effect.Effect<{ readonly positions: InlinePositions; readonly seam: InlineSeam }, InvalidOption> => {
  const both = Option.zipWith(checkpoints.inline, events.replay.inline, (positions, seam) => ({ positions, seam }))
  return Option.match(Option.filter(both, ({ positions, seam }) => positions.client === seam.client), {
    onNone: () =>
      new InvalidOption({
        option: `${subject} inline`,
        value: "true, with an EventStore and a CheckpointStore that share no transaction",
        expected: "SQL stores on one SqlClient, or a projection that is not inline"
      }),
    onSome: Effect.succeed
  })
}

interface Inline<in out E> {
  readonly site: Parts
  readonly reading: Reading<E>
  readonly positions: InlinePositions
  readonly handle: Handle<E, never>
}

const handleAppended = <E>(inline: Inline<E>, appended: Appended): Effect.Effect<void, InlineProjectionError> =>
  Effect.suspend(() => {
    const { positions, reading, site: { key, meter, options } } = inline
    const { events, nested, previous, stream } = appended
    const items = Arr.filterMap(events, reading.item)
    const last = events[events.length - 1]
    const claimed = positions.claim(key, {
      stream: streamText(stream),
      previous,
      last: last.position,
      ordered: options.poison === "parkStream",
      nested,
      timeout: Duration.toMillis(options.timeout)
    })
    const handled = Effect.flatMap(claimed, (isClaimed) => {
      if (!isClaimed) return Effect.sync(meter.deferred)
      return items.length === 0 ? Effect.void : traced(key, items.length, handleItems(inline, items))
    })
    // an interruption of the command ends it without this
    return Effect.catchAllCause(handled, (cause) => failed(inline, appended, cause))
  })

const handleItems = <E>({ handle, site: { options } }: Inline<E>, items: ReadonlyArray<Item<E>>) =>
  Effect.flatMap(
    Either.all(items.map(({ event }) => event)),
    (events) => Arr.isNonEmptyReadonlyArray(events) ? within(handle(events), options.timeout) : Effect.void
  )

const failed = <E>(
  { site }: Inline<E>,
  { stream }: Appended,
  cause: Cause.Cause<unknown>
): Effect.Effect<never, InlineProjectionError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const { key: { name, version }, options } = site
    noteFailure(site, "Inline", Failures.reasonOf(cause, options.personal), now)
    const shown = Failures.causeOf(cause, options.personal)
    return new InlineProjectionError({ projection: name, version, stream, cause: shown }, true)
  })

const traced = <A, E>({ name, version }: Key, events: number, handled: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  withSpan(handled, "Projection.inline", {
    attributes: {
      "eventsourcing.projection": name,
      "eventsourcing.projection_version": version,
      "eventsourcing.events": events
    }
  })

/** Leaves out events that were handled inline. */
export const without = <E>(
  { checkpoints, key }: Pick<Site, "checkpoints" | "key">,
  items: ReadonlyArray<Item<E>>
): Effect.Effect<ReadonlyArray<Item<E>>, CheckpointStoreError> => {
  if (Option.isNone(checkpoints.inline) || items.length === 0) return Effect.succeed(items)
  return Effect.map(
    checkpoints.inline.value.of(key, Arr.dedupe(items.map(({ stream }) => stream))),
    (positions) =>
      items.filter(({ position, stream }) => {
        const inline = positions.get(stream)
        return inline === undefined || Position.Order(position, inline) > 0
      })
  )
}

/** Forgets how far streams were handled inline, as far as the checkpoints have passed that. */
export const forget = ({ checkpoints, key }: Pick<Site, "checkpoints" | "key">): Effect.Effect<void> =>
  Option.match(checkpoints.inline, {
    onNone: () => Effect.void,
    // the next batch does it if this fails
    onSome: (positions) => Effect.ignore(positions.forget(key))
  })
