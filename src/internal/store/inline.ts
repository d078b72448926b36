// Runs inline projections in the transaction of an append.
//
//   1. Append. What is not new, or does not fit the version, is not handled.
//   2. Read the new events back, and the one before them, with the positions that the store gave them.
//   3. Call the handlers, and commit.
//
// An append of an aggregate without a handler costs a look at a set. One with a handler is not grouped with others. It costs
// a transaction, the read, and what each handler does.
import * as Arr from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import type * as Position from "../../Position.js"
import type * as StreamId from "../../StreamId.js"
import { EventStoreError, type InlineProjectionError } from "./eventErrors.js"
import * as Pages from "./eventPages.js"

/**
 * What a driver needs for inline projections: transactions in which an append and other writes are one.
 *
 * @since 0.1.0
 * @category drivers
 */
export interface InlineDriver {
  /** The client of the store. Stores with the same one can write in one transaction. */
  readonly client: unknown
  /**
   * Runs an append in a new transaction, or in one nested in the caller's. A new one is repeated if it was undone by a
   * failure that passes, such as a deadlock.
   */
  readonly transaction: <A, E extends { readonly cause?: unknown }>(
    stream: StreamId.StreamId,
    append: (transaction: { readonly nested: boolean }) => Effect.Effect<A, E>
  ) => Effect.Effect<A, E | EventStoreError>
  /** Adds what belongs to the transaction, and to the span, of the calling fiber to the services of a handler. */
  readonly joined: <R>(services: Context.Context<R>, caller: Context.Context<never>) => Context.Context<R>
}

/**
 * The events of an append, as inline projections handle them before the commit.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  readonly stream: StreamId.StreamId
  /** The position of the event before them in their stream. */
  readonly previous: Option.Option<Position.Position>
  readonly events: Arr.NonEmptyReadonlyArray<Event.RecordedEvent | Event.UnreadableEvent>
  /** Whether the transaction is nested in one of the caller. */
  readonly nested: boolean
}

/**
 * Handles the events of appends in their transactions.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineHandler {
  /** The handlers of an append are called in the order of this text, so that processes lock rows in the same order. */
  readonly order: string
  /** The aggregates whose appends it handles. */
  readonly aggregates: ReadonlySet<string>
  readonly handle: (appended: Appended) => Effect.Effect<void, InlineProjectionError>
}

/**
 * Adds inline projections to a store.
 *
 * @since 0.1.0
 * @category models
 */
export interface InlineSeam extends Pick<InlineDriver, "client" | "joined"> {
  /** Calls a handler for each append from now on, and returns how to end that. */
  readonly add: (handler: InlineHandler) => () => void
}

/** The part of a driver that inline projections use. */
interface Store<in Options, out Result, out E> {
  readonly append: (options: Options) => Effect.Effect<Result, E>
  readonly read: (options: {
    readonly stream: StreamId.StreamId
    readonly fromVersion: number
    readonly toVersion: number
    readonly limit: number
    readonly reverse: boolean
  }) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, EventStoreError>
  readonly inline?: InlineDriver | undefined
}

/** What the input, the result and the errors of an append have. */
interface Appending {
  readonly stream: StreamId.StreamId
  readonly events: ReadonlyArray<unknown>
}

interface Result {
  readonly version: number
  readonly duplicate: boolean
}

interface Failure {
  readonly cause?: unknown
}

export interface Inline<in Options, out Result, out E> {
  readonly append: (options: Options) => Effect.Effect<Result, E | EventStoreError | InlineProjectionError>
  /** `None` if the store has no transactions. */
  readonly seam: Option.Option<InlineSeam>
}

export const make = <Options extends Appending, A extends Result, E extends Failure>(
  store: Store<Options, A, E>
): Inline<Options, A, E> => {
  const { inline: driver } = store
  if (driver === undefined) return { append: store.append, seam: Option.none() }
  let handlers: ReadonlyArray<InlineHandler> = []
  return {
    append: (options) => {
      if (handlers.length === 0) return store.append(options)
      const { aggregate } = options.stream
      const concerned = handlers.filter(({ aggregates }) => aggregates.has(aggregate))
      return concerned.length === 0 ? store.append(options) : appendWith(store, driver, concerned, options)
    },
    seam: Option.some({
      client: driver.client,
      joined: driver.joined,
      add: (handler) => {
        handlers = [...handlers, handler].sort((a, b) => a.order < b.order ? -1 : a.order > b.order ? 1 : 0)
        return () => {
          handlers = handlers.filter((one) => one !== handler)
        }
      }
    })
  }
}

const appendWith = <Options extends Appending, A extends Result, E extends Failure>(
  store: Store<Options, A, E>,
  driver: InlineDriver,
  handlers: ReadonlyArray<InlineHandler>,
  options: Options
): Effect.Effect<A, E | EventStoreError | InlineProjectionError> => {
  const { events, stream } = options
  return driver.transaction(stream, ({ nested }) =>
    Effect.tap(store.append(options), ({ duplicate, version }) => {
      // the events are stored, and what was to be done for them was done then, or is left to the feed
      if (duplicate) return Effect.void
      const appended = readBack(store, stream, { version, count: events.length, nested })
      return Effect.flatMap(
        appended,
        (appended) => Effect.forEach(handlers, ({ handle }) => handle(appended), { discard: true })
      )
    }))
}

/** Reads the events of an append with the event before them. */
const readBack = (
  store: Pick<Store<never, unknown, unknown>, "read">,
  stream: StreamId.StreamId,
  { count, nested, version }: { readonly version: number; readonly count: number; readonly nested: boolean }
): Effect.Effect<Appended, EventStoreError> => {
  const range = { fromVersion: 1, toVersion: version, reverse: true }
  const { next, read, start } = Pages.ofRange(store.read, stream, range)
  return Effect.flatMap(
    Pages.upTo(count + 1, start, read, next),
    (records): Effect.Effect<Appended, EventStoreError> => {
      const [previous, own] = Arr.partition(records, (record) => record.version > version - count)
      const events = Pages.decode(own.reverse())
      return Arr.isNonEmptyReadonlyArray(events) && events.length === count
        ? Effect.succeed({
          stream,
          previous: Option.map(Arr.head(previous), ({ position }) => position),
          events,
          nested
        })
        : new EventStoreError({
          operation: "append",
          stream,
          reason: "Unavailable",
          mayHaveAppended: false,
          detail: "its events could not be read back in the transaction of the append, for the inline projections"
        })
    }
  )
}
