/**
 * Tests a projection by example: given these events, then the read model is that.
 *
 * No loop runs, and no checkpoint is needed. The given events are stored as JSON, read back and decoded as in a service,
 * and the handler gets them in its pages. It works with any read model: a `Ref`, or the tables of a database.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import { AssertionError } from "node:assert"
import type * as Aggregate from "../Aggregate.js"
import type * as Event from "../Event.js"
import * as EventStore from "../EventStore.js"
import * as ExpectedVersion from "../ExpectedVersion.js"
import { differences } from "../internal/laws/difference.js"
import { allow, objectionsIn, refusal } from "../internal/laws/objections.js"
import { apart, evidenceRows, type Row, table } from "../internal/laws/report.js"
import { orThrow, wholeFromOne } from "../internal/options.js"
import { store } from "../internal/repository/storedEvents.js"
import type * as Position from "../Position.js"
import type * as Projection from "../Projection.js"
import * as StreamId from "../StreamId.js"

/**
 * An event of the feed, as it is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stored {
  readonly stream: StreamId.StreamId
  readonly type: string
  /** The encoded event: a JSON value. */
  readonly payload: unknown
  readonly metadata: Event.Metadata
  readonly time: DateTime.Utc | undefined
}

/**
 * The options of an event.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventOptions {
  readonly metadata?: Event.Metadata | undefined
  /** Default: n milliseconds after the beginning of 1970 for the n-th event, so that each run is the same. */
  readonly time?: DateTime.Utc | undefined
}

/**
 * A history that a projection can handle.
 *
 * @since 0.1.0
 * @category models
 */
export interface Given<out E, out R> {
  /** Handles the events. */
  readonly handled: Effect.Effect<void, E, R>
  /**
   * Handles the events, reads the read model and asserts that it equals `expected`, by value. A difference is a defect:
   * an `AssertionError` of node.
   */
  readonly then: <A, E2, R2>(
    read: Effect.Effect<A, E2, R2>,
    expected: NoInfer<A>
  ) => Effect.Effect<void, E | E2, R | R2>
}

/**
 * Makes an event of an aggregate. Throws `InvalidOption` if the id or the event does not match its schema.
 *
 * @example
 * ```ts
 * import { Aggregate } from "effect-eventsourcing"
 * import { ProjectionTest } from "effect-eventsourcing/testing"
 * import { Either, Schema } from "effect"
 *
 * const Account = Aggregate.make({
 *   name: "Account",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   command: Schema.TaggedStruct("Deposit", { amount: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (state, { amount }) => state + amount,
 *   decide: (_, { amount }) => Either.right([{ _tag: "Deposited", amount }])
 * })
 *
 * const deposited = ProjectionTest.event(Account, "a-1", { _tag: "Deposited", amount: 5 })
 * ```
 *
 * @since 0.1.0
 * @category events
 */
export const event = <Name extends string, Id, State, E, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, E, Command, Rejection>,
  id: NoInfer<Id>,
  event: NoInfer<E>,
  options?: EventOptions
): Stored => {
  const name = `ProjectionTest.event of ${JSON.stringify(aggregate.name)}`
  const encoded = store(aggregate.event, event)
  if (Either.isLeft(encoded)) {
    const { cause, problem } = encoded.left
    throw refusal(`${name} event`, event, ParseResult.isParseError(cause) ? objectionsIn(cause) : `it ${problem}`)
  }
  const { payload, type } = encoded.right
  return stored(StreamId.make(aggregate.name, allow(`${name} id`, id, aggregate.id.encode)), { type, payload }, options)
}

/**
 * Makes an event as it is stored, for events of older code and events that do not decode.
 *
 * @example
 * ```ts
 * import { StreamId } from "effect-eventsourcing"
 * import { ProjectionTest } from "effect-eventsourcing/testing"
 *
 * const old = ProjectionTest.stored(StreamId.make("Account", "a-1"), { type: "Paid", payload: { _tag: "Paid", euros: 5 } })
 * ```
 *
 * @since 0.1.0
 * @category events
 */
export const stored = (
  stream: StreamId.StreamId,
  encoded: { readonly type: string; readonly payload: unknown },
  options?: EventOptions
): Stored => ({
  stream,
  type: encoded.type,
  payload: encoded.payload,
  metadata: options?.metadata ?? {},
  time: options?.time
})

/**
 * Begins with a history, in the order of the feed. The handler gets it in pages of `pageSize` events, by default in one.
 * Events that the projection does not read are left out, as in a service. An event that does not decode is a defect.
 *
 * @example
 * ```ts
 * import { Aggregate, Projection } from "effect-eventsourcing"
 * import { ProjectionTest } from "effect-eventsourcing/testing"
 * import { Effect, Either, Ref, Schema } from "effect"
 *
 * const Account = Aggregate.make({
 *   name: "Account",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   command: Schema.TaggedStruct("Deposit", { amount: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (state, { amount }) => state + amount,
 *   decide: (_, { amount }) => Either.right([{ _tag: "Deposited", amount }])
 * })
 *
 * const total = Ref.unsafeMake(0)
 * const Totals = Projection.make({
 *   name: "totals",
 *   on: [Account],
 *   handle: (events) => Ref.update(total, (sum) => events.reduce((sum, { event }) => sum + event.amount, sum))
 * })
 *
 * const deposited = (amount: number) => ProjectionTest.event(Account, "a-1", { _tag: "Deposited", amount })
 * const test = ProjectionTest.given(Totals, [deposited(5), deposited(7)]).then(Ref.get(total), 12)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const given = <E, Err, R>(
  projection: Projection.Projection<E, Err, R>,
  events: ReadonlyArray<Stored>,
  options?: { readonly pageSize?: number | undefined }
): Given<Err, R> => {
  const pageSize = options?.pageSize
  orThrow(wholeFromOne("ProjectionTest.given pageSize", pageSize))
  const handled = Effect.flatMap(
    decoded(projection, events),
    (all) => handle(projection, Arr.chunksOf(all, pageSize ?? Math.max(all.length, 1)))
  )
  return {
    handled,
    then: (read, expected, ...rest: ReadonlyArray<unknown>) => {
      // `await` calls it with the two functions of a promise
      const reject: unknown = expected
      if (!Effect.isEffect(read)) {
        const nothing = failure(`${projection.name}: nothing is asserted.`, [["hint", unasserted, true]])
        if (typeof reject !== "function") throw nothing
        reject(nothing, ...rest)
      }
      return handled.pipe(
        Effect.zipRight(read),
        Effect.flatMap((actual) => {
          const found = differences(expected, actual)
          return found.length === 0 ? Effect.void : Effect.die(
            failure(
              `${projection.name}: the read model is another one.`,
              [
                ["given events", events.map(shown)],
                ["expected", expected],
                ["actual", actual],
                ...evidenceRows(apart(found, "expected", "actual"))
              ],
              { expected, actual }
            )
          )
        })
      )
    }
  }
}

const unasserted = "Call .then(read, expected), and run the Effect that it returns."

/**
 * Checks the law of projections: however a history is divided into pages, the read model is the same. The loop of a
 * service divides it as events come in and as failures demand.
 *
 * `clear` empties the read model, and `read` reads it. The first run has one page, the second one event a page, and the
 * others random pages. A read model that differs is a defect with the pages that show it, as few as possible.
 *
 * @example
 * ```ts
 * import { Aggregate, Projection } from "effect-eventsourcing"
 * import { ProjectionTest } from "effect-eventsourcing/testing"
 * import { Either, Ref, Schema } from "effect"
 *
 * const Account = Aggregate.make({
 *   name: "Account",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   command: Schema.TaggedStruct("Deposit", { amount: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (state, { amount }) => state + amount,
 *   decide: (_, { amount }) => Either.right([{ _tag: "Deposited", amount }])
 * })
 *
 * const total = Ref.unsafeMake(0)
 * const Totals = Projection.make({
 *   name: "totals",
 *   on: [Account],
 *   handle: (events) => Ref.update(total, (sum) => events.reduce((sum, { event }) => sum + event.amount, sum))
 * })
 *
 * const events = [1, 2, 3].map((amount) => ProjectionTest.event(Account, "a-1", { _tag: "Deposited", amount }))
 * const law = ProjectionTest.checkPages(Totals, events, { clear: Ref.set(total, 0), read: Ref.get(total) })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const checkPages = <E, Err, R, A, E2, R2, E3, R3>(
  projection: Projection.Projection<E, Err, R>,
  events: ReadonlyArray<Stored>,
  options: {
    readonly clear: Effect.Effect<unknown, E2, R2>
    readonly read: Effect.Effect<A, E3, R3>
    /** The number of random divisions. Default 50. */
    readonly runs?: number | undefined
    /** Default: a new one each time. It is in the message of a failure. */
    readonly seed?: number | undefined
  }
): Effect.Effect<void, Err | E2 | E3, R | R2 | R3> => {
  const { clear, read, runs = 50, seed = Date.now() % 2 ** 31 } = options
  orThrow(wholeFromOne("ProjectionTest.checkPages runs", runs))
  return Effect.gen(function*() {
    const all = yield* decoded(projection, events)
    const modelOf = (cuts: ReadonlyArray<number>) =>
      clear.pipe(Effect.zipRight(handle(projection, pagesOf(all, cuts))), Effect.zipRight(read))
    const expected = yield* modelOf([])
    const differs = (cuts: ReadonlyArray<number>) =>
      Effect.map(modelOf(cuts), (actual) => differences(expected, actual).length > 0)
    const every = Array.from({ length: Math.max(all.length - 1, 0) }, (_, n) => n + 1)
    const random = FastCheck.sample(FastCheck.subarray(every), { numRuns: runs, seed })
    for (const cuts of [every, ...random]) {
      if (!(yield* differs(cuts))) continue
      const fewest = yield* shorten(cuts, differs)
      const actual = yield* modelOf(fewest)
      return yield* Effect.die(failure(
        `${projection.name}: the read model depends on the pages.`,
        [
          ["pages", pagesOf(events.map(shown), fewest)],
          ["in one page", expected],
          ["in these pages", actual],
          ...evidenceRows(apart(differences(expected, actual), "one page", "these pages")),
          ["seed", seed]
        ],
        { expected, actual }
      ))
    }
  })
}

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const shown = ({ payload, stream, type }: Stored) => ({ stream: `${stream.aggregate} ${stream.id}`, type, payload })

/** Stores the events in memory and reads them back, as the projection would. */
const decoded = <E, Err, R>(
  { name, reading }: Projection.Projection<E, Err, R>,
  events: ReadonlyArray<Stored>
): Effect.Effect<ReadonlyArray<E>> =>
  Effect.gen(function*() {
    const memory = yield* EventStore.makeMemory
    for (const [index, { metadata, payload, stream, time, type }] of events.entries()) {
      const proposed = {
        id: `event-${index + 1}`,
        type,
        payload,
        metadata,
        time: time ?? DateTime.unsafeMake(index + 1)
      }
      yield* memory.append(stream, [proposed], { expectedVersion: ExpectedVersion.any })
    }
    const { aggregates, excludedTypes } = reading
    const items: Array<Projection.Item<E>> = []
    let after: Position.Position | undefined
    for (;;) {
      const page = yield* memory.readPage({ aggregates, excludedTypes, after })
      for (const recorded of page.events) {
        const item = reading.item(recorded)
        if (Option.isSome(item)) items.push(item.value)
      }
      if (page.atEnd) break
      after = page.settled
    }
    return yield* Effect.forEach(items, ({ event }) =>
      Either.match(event, {
        onLeft: ({ message }) => Effect.die(failure(`${name}: an event does not decode.`, [["reason", message, true]])),
        onRight: Effect.succeed
      }))
  }).pipe(Effect.orDie)

const handle = <E, Err, R>(
  projection: Projection.Projection<E, Err, R>,
  pages: ReadonlyArray<ReadonlyArray<E>>
): Effect.Effect<void, Err, R> =>
  Effect.forEach(
    pages,
    (page) =>
      Arr.isNonEmptyReadonlyArray(page) ? Effect.asVoid(Effect.suspend(() => projection.handle(page))) : Effect.void,
    { discard: true }
  )

const pagesOf = <A>(all: ReadonlyArray<A>, cuts: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<A>> => {
  const ends = [...cuts, all.length]
  return ends.map((end, index) => all.slice(index === 0 ? 0 : ends[index - 1], end))
}

/** Leaves out cuts as long as the read model differs without them. */
const shorten = <E, R>(
  cuts: ReadonlyArray<number>,
  differs: (cuts: ReadonlyArray<number>) => Effect.Effect<boolean, E, R>
): Effect.Effect<ReadonlyArray<number>, E, R> =>
  Effect.gen(function*() {
    let fewest = cuts
    for (const cut of cuts) {
      const without = fewest.filter((other) => other !== cut)
      if (without.length > 0 && (yield* differs(without))) fewest = without
    }
    return fewest
  })

const failure = (
  text: string,
  rows: ReadonlyArray<Row>,
  compared: { readonly expected?: unknown; readonly actual?: unknown } = {}
): AssertionError =>
  new AssertionError({
    ...compared,
    message: [text, "", ...table(rows)].join("\n"),
    // node leaves the message of an unknown operator unchanged
    operator: "then"
  })
