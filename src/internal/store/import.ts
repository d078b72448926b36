// Imports histories in batches, each of which is stored as a whole or not at all.
// Mechanism: a batch is numbered and inserted by one statement, which checks the versions of all its streams. Only if that
// inserts nothing, the store is asked which events it holds: those are skipped, the rest is inserted, and a stream that
// holds other events is an error. After a batch of events that are all stored the next one is looked up first.
// Costs one statement a batch, or two for a batch that is stored already, and one map entry for each stream.
import type * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as Position from "../../Position.js"
import { isDate, noDate } from "../constants.js"
import { liveClock } from "../liveClock.js"
import { unknownKey } from "../options.js"
import { isSameStream } from "../streamKey.js"
import { unreadable } from "../text.js"
import { DuplicateEventId, EventStoreError, type VersionConflict } from "./eventErrors.js"
import { countProblem } from "./eventInput.js"
import * as Events from "./importEvents.js"
import type { ImportDriver, ImportedEvent, ImportOptions, ImportProgress } from "./importModel.js"
import { judge, later, type Look, type Verdict } from "./importVerdict.js"
import * as Overtaking from "./overtaking.js"

export type ImportError = VersionConflict | DuplicateEventId | EventStoreError

/** Checks the input of an import and fills in its defaults, or gives a problem. */
export const input = (events: unknown, options: ImportOptions | undefined): { readonly batchSize: number } | string => {
  if (!Predicate.hasProperty(events, Stream.StreamTypeId)) return "the events are not a Stream"
  const wrong = unknownKey("the options of import", options, ["batchSize"])
  if (wrong !== undefined) return wrong
  const { batchSize = 1_000 } = options ?? {}
  return countProblem({ batchSize }) ?? { batchSize }
}

export const run = <E, R>(
  driver: ImportDriver,
  events: Stream.Stream<ImportedEvent, E, R>,
  { batchSize }: { readonly batchSize: number }
): Stream.Stream<ImportProgress, E | ImportError, R> =>
  Stream.suspend(() => {
    const state: State = {
      read: 0,
      next: new Map(),
      lookFirst: false,
      progress: { imported: 0, skipped: 0, position: Position.start }
    }
    return events.pipe(
      Stream.rechunk(batchSize),
      Stream.chunks,
      Stream.mapEffect((chunk) => readBatches(state, chunk)),
      Stream.flattenIterables,
      Stream.mapEffect((batch) => store(driver, state, batch))
    )
  })

interface State {
  /** The number of events that were read. */
  read: number
  /** The next version of each stream. */
  readonly next: Map<string, number>
  /** Whether the batch before this one was stored already. */
  lookFirst: boolean
  progress: ImportProgress
}

const refusal = (detail: string, cause?: unknown): EventStoreError =>
  new EventStoreError({
    operation: "import",
    reason: "InvalidInput",
    mayHaveAppended: false,
    detail,
    ...(cause === undefined ? {} : { cause })
  })

type Batch = ReadonlyArray<Events.Item>

/** Reads the events of a chunk, in batches that a statement can take. */
const readBatches = (
  state: State,
  chunk: Chunk.Chunk<ImportedEvent>
): Effect.Effect<ReadonlyArray<Batch>, EventStoreError> =>
  Effect.suspend(() => {
    const batches: Array<Batch> = []
    let items: Array<Events.Item> = []
    let length = 0
    const end = () => {
      if (items.length > 0) batches.push(items)
      items = []
      length = 0
    }
    for (const event of chunk) {
      const item = readItem(++state.read, event)
      if (item instanceof EventStoreError) return item
      length += Events.lengthOf(item)
      if (length > maxBatchLength) {
        end()
        length = Events.lengthOf(item)
      }
      items.push(item)
    }
    end()
    return Effect.succeed(batches)
  })

const readItem = (number: number, event: ImportedEvent): Events.Item | EventStoreError => {
  try {
    return Either.getOrElse(
      Events.read(number, event),
      (problem) => refusal(`event ${number} of the import: ${problem}`)
    )
  } catch (cause) {
    return refusal(`event ${number} of the import: ${unreadable}`, cause)
  }
}

// a statement holds a batch several times on its way
const maxBatchLength = 16_000_000

const store = (driver: ImportDriver, state: State, batch: Batch): Effect.Effect<ImportProgress, ImportError> =>
  Effect.gen(function*() {
    const time = yield* Clock.currentTimeMillis
    if (!isDate(time)) return yield* refusal(`the Clock gives ${time} for the time, which is ${noDate}`)
    // the number of events in an insert whose answer was lost
    let lost = 0
    const insert = (events: ReadonlyArray<Events.Numbered>) =>
      Effect.map(driver.insert({ events, time: Math.trunc(time) }), ({ mayHaveInserted, position }) => {
        lost = mayHaveInserted ? events.length : 0
        return position
      })
    const numbering = yield* number(state, batch, new Map())
    if (!state.lookFirst) {
      const position = yield* insert(numbering.events)
      if (Option.isSome(position)) return done(state, numbering, batch.length, position.value)
    }
    const storeRest = Effect.gen(function*() {
      const current = yield* look(driver, state, batch, numbering)
      const { position, rest } = current.verdict
      if (rest.length === 0) return done(state, current.numbering, lost, position)
      const inserted = yield* insert(rest)
      if (Option.isNone(inserted)) return yield* Effect.fail("Overtaken" as const)
      return done(state, current.numbering, rest.length, later(position, inserted.value))
    })
    return yield* Effect.catchAll(
      storeRest,
      (error) =>
        error === "Overtaken"
          ? Effect.withClock(Effect.retry(storeRest, { schedule: overtakenSchedule, while: isOvertaken }), liveClock)
          : Effect.fail(error)
    )
  }).pipe(Effect.mapError((error) => isOvertaken(error) ? overtaken() : error))

const isOvertaken = (error: unknown): error is "Overtaken" => error === "Overtaken"

const overtakenSchedule = Overtaking.schedule(100)

const overtaken = (): EventStoreError =>
  new EventStoreError({
    operation: "import",
    reason: "Unavailable",
    mayHaveAppended: false,
    detail: "another writer was first every time: run the import again"
  })

const number = (
  state: State,
  batch: Batch,
  first: ReadonlyMap<string, number>
): Effect.Effect<Events.Numbering, EventStoreError | DuplicateEventId> => {
  const numbering = Events.number(batch, state.next, first)
  if (Either.isLeft(numbering)) return refusal(numbering.left)
  const { events } = numbering.right
  const ids = new Set<string>()
  for (const { id, stream } of events) {
    if (ids.has(id)) return new DuplicateEventId({ stream, eventId: id })
    ids.add(id)
  }
  return Effect.succeed(numbering.right)
}

/** Looks at the part of the store that a batch meets. */
const look = (
  driver: ImportDriver,
  state: State,
  batch: Batch,
  numbering: Events.Numbering
): Effect.Effect<{ readonly numbering: Events.Numbering; readonly verdict: Verdict }, ImportError> =>
  Effect.gen(function*() {
    const streams = new Map(numbering.events.map(({ key, stream }) => [key, stream]))
    const versions = yield* driver.versions(Array.from(streams.values()))
    const heads = new Map(Array.from(streams.keys(), (key, index) => [key, versions[index]]))
    // after the versions: an event that is stored in between is then found
    const stored = yield* storedOf(driver, numbering)
    const first = new Map(Array.from(numbering.assumed, ([key, event]) => [key, firstOf(event, { heads, stored })]))
    if (Array.from(first.values()).every((version) => version === 1)) {
      return { numbering, verdict: yield* judge(numbering.events, { heads, stored }) }
    }
    const renumbered = yield* number(state, batch, first)
    const found = yield* storedOf(driver, renumbered)
    return { numbering: renumbered, verdict: yield* judge(renumbered.events, { heads, stored: found }) }
  })

const storedOf = (driver: ImportDriver, { events }: Events.Numbering): Effect.Effect<Look["stored"], EventStoreError> =>
  Effect.map(
    driver.records(events.map(({ id }) => id)),
    (records) => new Map(records.map((record) => [record.id, record]))
  )

// an event with an id is where the stream holds it, or follows the last one
const firstOf = ({ id, key, stream }: Events.Numbered, { heads, stored }: Look): number => {
  const found = stored.get(id)
  return found !== undefined && isSameStream(found.stream, stream)
    ? found.version
    : (heads.get(key) ?? 0) + 1
}

const done = (state: State, { events, next }: Events.Numbering, imported: number, position: Position.Position) => {
  for (const [key, version] of next) state.next.set(key, version)
  const { progress } = state
  const skipped = events.length - imported
  state.lookFirst = imported === 0
  state.progress = {
    imported: progress.imported + imported,
    skipped: progress.skipped + skipped,
    position: later(progress.position, position)
  }
  return state.progress
}
