// Folds the events of a stream onto a state, page by page.
// Each page begins with the last event of the page before it. If another event stands there, the history was rewritten
// in between, and the load begins again. So it does at a marker which says that an event of an earlier page was rewritten.
// Costs one statement a page, and no Effect per event.
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type * as StreamId from "../../StreamId.js"
import { maxVersion, pageBytes, shortPage } from "../constants.js"
import { isEmptied } from "../emptied.js"
import * as Markers from "../markers.js"
import type { Baseline } from "./baseline.js"
import { HistoryRewritten, type LoadError, ReplayTooLong } from "./errors.js"
import {
  Emptied,
  type Folded,
  type FoldError,
  holds,
  isContinued,
  type Loadable,
  Outdated,
  type Page
} from "./loadable.js"
import type { Source } from "./source.js"

/** One load of one stream. */
export interface Request<out Id, in out State> {
  readonly id: Id
  readonly stream: StreamId.StreamId
  readonly limits: Limits
  /** The last version to fold. */
  readonly upTo: number
  /** Called with the reason why the snapshot was not used, if the replay that replaces it fails. */
  readonly onRefused: (failure: Snapshot.SnapshotFailure) => Effect.Effect<void>
  /** Called for each page of events that was read. */
  readonly onPage: () => void
  /** Records what the state is folded from. */
  readonly source: Source<State> | undefined
  /** Gives the milliseconds since the load began. */
  readonly elapsed: () => number
  readonly met: Met
}

/** What a load has met so far. */
export interface Met {
  /** The last marker of a rewritten event. Pages that are read afterwards have what it tells. */
  marker: number
  /** Whether the content of an event was gone. The load then looks once more for a snapshot, its only source. */
  emptied: boolean
}

export interface Limits {
  /** The most events that a load may fold. */
  readonly most: number
  /** The size of the first page. Most streams are short, and so are most tails after a snapshot or a cached state. */
  readonly first: number
  /** The size of each other page. */
  readonly page: number
}

export const limits = (pageSize: number, most: number): Limits => {
  // one event more than the limit shows that the replay is too long
  const page = Math.min(pageSize, Math.max(2, most + 1), maxVersion)
  return { most, first: Math.min(page, shortPage), page }
}

export type Folding<State> = Effect.Effect<Folded<State>, LoadError | Rewritten>

export type Loading<State> = Effect.Effect<Baseline<State>, LoadError | Rewritten>

/** A state, and the version of the state that the fold began with. */
export interface From<out State> extends Folded<State> {
  readonly base: number
}

export interface Replay<in Id, in out State> {
  /** Folds all events. The page holds the first of them, if they were read already. */
  readonly fromStart: (request: Request<Id, State>, page: Page | undefined) => Folding<State>
  /** Folds a page that was read, and reads on if there is more. */
  readonly fold: (request: Request<Id, State>, from: From<State>, page: Page, more: boolean) => Folding<State>
  /** Reads and folds the events after a state. */
  readonly readOn: (request: Request<Id, State>, from: Folded<State>) => Folding<State>
}

export const make = <Id, State>(
  aggregate: Loadable<Id, State>,
  options: { readonly events: EventStore.EventStore["Type"]; readonly concurrentReplays: number | undefined }
): Replay<Id, State> => {
  const { concurrentReplays } = options
  const events = options.events.replay
  const permits = concurrentReplays === undefined ? undefined : Effect.unsafeMakeSemaphore(concurrentReplays)

  const fold: Replay<Id, State>["fold"] = (request, from, page, more) =>
    Effect.suspend(() => {
      const { limits, onPage, source, stream, upTo } = request
      onPage()
      const wanted = upTo === Infinity ? page : pageUpTo(upTo, from, page)
      if (wanted.length < page.length && lacksEnd(wanted, upTo - from.version)) return readTo(request, from)
      // where the beginning was removed, there is nothing to replay, so it is not too long
      if (from.replayed + wanted.length > limits.most && !wanted.some(isEmptied)) {
        return new ReplayTooLong({ stream, fromVersion: from.version + 1, maxReplay: limits.most })
      }
      const folded = aggregate.fold(stream, from, wanted, { base: from.base, marker: request.met.marker })
      if (Either.isLeft(folded)) return refuse(request, events.life, folded.left)
      source?.add(wanted)
      return more
        // a long replay lets other fibers run between its pages
        ? Effect.zipRight(Effect.yieldNow(), readNext(request, { ...folded.right, base: from.base }, page))
        : Effect.succeed(folded.right)
    })

  const readOn: Replay<Id, State>["readOn"] = (request, from) =>
    from.version >= request.upTo
      ? Effect.succeed(from)
      : readPage(request, { ...from, base: from.version }, request.limits.page)

  // a store reads a page of long events twice if it is asked for more of them than fit
  const readNext = (request: Request<Id, State>, from: From<State>, page: Page): Folding<State> =>
    from.version >= request.upTo
      ? Effect.succeed(from)
      : readPage(request, from, Math.min(request.limits.page, Math.max(1, fitting(page))))

  // only the ends of a page need have an id and a time: the page is read again, with the last event at its end
  const readTo = (request: Request<Id, State>, from: From<State>): Folding<State> =>
    readPage(request, from, request.upTo - from.version)

  const readPage = (request: Request<Id, State>, from: From<State>, most: number): Folding<State> => {
    const known = from.version === 0 ? 0 : 1
    const limit = most + known
    return Effect.flatMap(events.readTail(request.stream, { fromVersion: from.version + 1 - known, limit }), (page) => {
      if (known === 1 && !continues(page, from)) return new Rewritten(elsewhere)
      const unread = page.slice(known, limit)
      return unread.length === 0 ? Effect.succeed(from) : fold(request, from, unread, isContinued(page, limit))
    })
  }

  // A transaction holds a connection. It must not wait for a permit whose holder may be waiting for that connection.
  const capped = (folding: Folding<State>): Folding<State> =>
    permits === undefined
      ? folding
      : Effect.flatMap(events.inTransaction, (open) => open ? folding : permits.withPermits(1)(folding))

  return {
    fold,
    readOn,
    fromStart: (request, page) => {
      const { id, limits, source, upTo } = request
      const state = aggregate.initial(id)
      const start: From<State> = { state, version: 0, eventId: null, time: null, replayed: 0, base: 0 }
      source?.begin(() => Option.some(aggregate.initial(id)), start)
      if (page === undefined) return capped(upTo > 0 ? readPage(request, start, limits.first) : Effect.succeed(start))
      return isContinued(page, limits.first)
        ? capped(fold(request, start, page, true))
        // the page holds the whole stream: nothing is left to read
        : fold(request, start, page, false)
    }
  }
}

const refuse = (
  { met }: Pick<Request<never, never>, "met">,
  life: EventStore.ReplaySeam["life"],
  problem: FoldError | Outdated | Emptied
): Effect.Effect<never, FoldError | EventStore.EventStoreError | Rewritten> => {
  if (problem instanceof Emptied) {
    if (met.emptied) return unlessDeleted(life, problem.gap)
    met.emptied = true
    return new Rewritten({ ...elsewhere, emptied: true })
  }
  if (!(problem instanceof Outdated)) return Effect.fail(problem)
  met.marker = Math.max(met.marker, problem.marker)
  return new Rewritten({ ...elsewhere, inBase: problem.inBase })
}

/** A stream that was deleted has no state, also where the fold does not come to its marker. */
const unlessDeleted = (
  life: EventStore.ReplaySeam["life"],
  gap: EventStore.HistoryGap
): Effect.Effect<never, FoldError | EventStore.EventStoreError> =>
  Effect.flatMap(
    Option.match(life, { onNone: () => Effect.succeedNone, onSome: ({ last }) => last(gap.stream) }),
    (last): Effect.Effect<never, FoldError> =>
      Option.exists(last, ({ type }) => type === Markers.deleted)
        ? new EventStore.StreamDeleted({ stream: gap.stream })
        : gap
  )

/** How many events as long as those of a page fill half a page. */
const fitting = (page: Page): number => {
  let length = 0
  for (const { payload } of page) length += payload.length
  return Math.floor(page.length * pageBytes / 2 / Math.max(1, length))
}

// where the stream lacks the version and goes on behind it, the next event shows the gap
const pageUpTo = (upTo: number, from: Folded<unknown>, page: Page): Page => {
  const end = page.findIndex(({ version }) => version > upTo)
  if (end === -1) return page
  const last = end === 0 ? from.version : page[end - 1].version
  return page.slice(0, last < upTo ? end + 1 : end)
}

/** Tells whether a page has all events that are wanted, but not the id and the time of the last one. */
const lacksEnd = (wanted: Page, count: number): boolean => {
  const last = wanted[wanted.length - 1]
  return wanted.length === count && count > 0 && (last.eventId === null || last.time === null)
}

// a store may give no ids, or no times: then only the versions, or the ids, can be compared
const continues = (page: Page, from: Folded<unknown>): boolean => {
  const [first] = page
  if (first?.version !== from.version) return false
  if (from.eventId === null || first.eventId === null) return true
  return first.time === null ? first.eventId === from.eventId : holds(page, from)
}

/**
 * Another event stands now where a state was folded up to, an event that was folded was rewritten, or the content of the
 * next one is gone.
 */
export class Rewritten extends Data.TaggedError("Rewritten")<{
  /** Why the snapshot was not used. */
  readonly refused: Snapshot.SnapshotFailure | undefined
  /** Whether the state that the fold began with is of the history before. */
  readonly inBase: boolean
  /** Whether the stream was truncated, so that only a snapshot gives the state. */
  readonly emptied: boolean
}> {}

const elsewhere = { refused: undefined, inBase: false, emptied: false }

export const isRewritten = (error: LoadError | Rewritten): error is Rewritten => error._tag === "Rewritten"

/** Repeats a load whose history was rewritten while it read: the state folded so far is of a history that is gone. */
export const repeatRewritten = <A>(
  reading: Effect.Effect<A, LoadError | Rewritten>,
  { onRefused, stream }: Pick<Request<never, never>, "onRefused" | "stream">
): Effect.Effect<A, LoadError> =>
  Effect.catchIf(reading, isRewritten, () =>
    Effect.catchIf(
      Effect.retry(reading, { while: isRewritten, times: 10 }),
      isRewritten,
      ({ refused }) =>
        Effect.zipRight(refused === undefined ? Effect.void : onRefused(refused), new HistoryRewritten({ stream }))
    ))

/**
 * Folds up to a version. The marker of a rewritten event is perhaps after that version, where the fold does not meet it.
 * So the store is asked for later markers afterwards, and the events are folded again if there is one.
 */
export const unlessRewritten = <A>(
  lastRewritten: EventStore.ReplaySeam["lastRewritten"],
  request: Pick<Request<never, never>, "met" | "stream" | "upTo">,
  folding: Effect.Effect<A, LoadError | Rewritten>,
  again: Effect.Effect<A, LoadError | Rewritten>
): Effect.Effect<A, LoadError | Rewritten> =>
  Effect.flatMap(folding, (folded) =>
    Effect.flatMap(lastRewritten(request.stream, request.upTo), (marker) => {
      if (marker <= request.met.marker) return Effect.succeed(folded)
      request.met.marker = marker
      return unlessRewritten(lastRewritten, request, again, again)
    }))
