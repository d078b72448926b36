// Imports histories in batches, each of which is stored as a whole or not at all.
// Mechanism: the events of a batch get their versions, and one statement inserts them and checks the versions of all
// their streams. If the statement inserts nothing, the import asks the store which events it holds, skips those and
// inserts the rest. A stream that holds other events is an error. If all events of a batch were already stored, the
// next batch is looked up before it is inserted.
// Costs one statement a batch, or two for a batch that is already stored, and one map entry for each stream. If the
// import of a stream begins after version 1, the batch reads the event before it, with one statement more.
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
import * as DerivedId from "../schema/derivedId.js"
import { isSameStream } from "../streamKey.js"
import { quote } from "../text.js"
import * as Deletion from "./deletion.js"
import { DuplicateEventId, EventStoreError, type StreamDeleted, type VersionConflict } from "./eventErrors.js"
import { countProblem } from "./eventInput.js"
import * as Find from "./find.js"
import * as Batches from "./importBatches.js"
import * as Events from "./importEvents.js"
import * as Markers from "./importMarkers.js"
import type { ImportDriver, ImportedEvent, ImportOptions, ImportProgress } from "./importModel.js"
import { conflict, judge, type Look, type Verdict } from "./importVerdict.js"
import { later } from "./later.js"
import * as Overtaking from "./overtaking.js"

export type ImportError = VersionConflict | DuplicateEventId | StreamDeleted | EventStoreError

/** Checks the input of an import and fills in its defaults, or gives a problem. */
export const input = (events: unknown, options: ImportOptions | undefined): Batches.Options | string => {
  if (!Predicate.hasProperty(events, Stream.StreamTypeId)) return "the events are not a Stream"
  const wrong = unknownKey("the options of import", options, ["batchSize", "markers"])
  if (wrong !== undefined) return wrong
  const { batchSize = 1_000, markers = "refuse" } = options ?? {}
  if (markers !== "refuse" && markers !== "keep") return `markers is ${quote(markers)}; it must be "refuse" or "keep"`
  return countProblem({ batchSize }) ?? { batchSize, markers }
}

/** The operations of a store that an import needs. */
export interface Driver {
  readonly find: Find.Find
  readonly import: ImportDriver
  readonly read: Deletion.Driver["read"]
}

export const run = <E, R>(
  driver: Driver,
  events: Stream.Stream<ImportedEvent, E, R>,
  options: Batches.Options
): Stream.Stream<ImportProgress, E | ImportError, R> =>
  Stream.suspend(() => {
    const state: State = {
      reached: new Map(),
      lookFirst: false,
      progress: { imported: 0, skipped: 0, position: Position.start }
    }
    return Stream.mapEffect(Batches.read(events, options), (batch) => store(driver, state, batch))
  })

interface State {
  /** The last event of each stream. */
  readonly reached: Map<string, Events.Reached>
  /** Whether the batch before this one was already stored. */
  lookFirst: boolean
  progress: ImportProgress
}

const store = (driver: Driver, state: State, batch: Batches.Batch): Effect.Effect<ImportProgress, ImportError> =>
  Effect.gen(function*() {
    const time = yield* Clock.currentTimeMillis
    if (!isDate(time)) return yield* Batches.refusal(`the Clock gives ${time} for the time, which is ${noDate}`)
    // the number of events in an insert whose answer was lost
    let lost = 0
    const insert = (events: ReadonlyArray<Events.Numbered>) =>
      Effect.map(
        Effect.zipRight(
          Markers.check(driver, events),
          driver.import.insert({ events, time: Math.trunc(time), after: state.progress.position })
        ),
        ({ mayHaveInserted, position }) => {
          lost = mayHaveInserted ? events.length : 0
          return position
        }
      )
    const before = yield* reachedAt(driver, Events.placesBefore(batch, state.reached))
    const numbering = yield* number(state, batch, before)
    if (!state.lookFirst && !numbering.isMistaken) {
      const position = yield* insert(numbering.events)
      if (Option.isSome(position)) return done(state, numbering, batch.length, position.value)
    }
    const storeRest = Effect.gen(function*() {
      const current = yield* look(driver, state, { batch, before, numbering })
      const { position, rest } = current.verdict
      if (rest.length === 0) return done(state, current.numbering, lost, position)
      const inserted = yield* insert(rest)
      if (Option.isNone(inserted)) {
        yield* Deletion.refuse(driver, rest.map(({ stream }) => stream))
        return yield* Effect.fail("Overtaken" as const)
      }
      return done(state, current.numbering, rest.length, later(position, inserted.value))
    })
    return yield* Effect.catchAll(
      storeRest,
      (error) =>
        error === "Overtaken"
          ? Effect.withClock(Effect.retry(storeRest, { schedule: overtakenSchedule, while: isOvertaken }), liveClock)
          : Effect.fail(error)
    )
  }).pipe(
    Effect.mapError((error) => isOvertaken(error) ? overtaken() : error),
    Effect.tapError((error) => error._tag === "VersionConflict" ? Deletion.refuse(driver, [error.stream]) : Effect.void)
  )

const isOvertaken = (error: unknown): error is "Overtaken" => error === "Overtaken"

const overtakenSchedule = Overtaking.schedule(100)

const overtaken = (): EventStoreError =>
  new EventStoreError({
    operation: "import",
    reason: "Unavailable",
    mayHaveAppended: false,
    detail: "another writer was first at every try, or the open transaction cannot see the events of that writer: " +
      "begin it again, and run the import again"
  })

const number = (
  state: State,
  batch: Batches.Batch,
  before: ReadonlyMap<string, Events.Reached>
): Effect.Effect<Events.Numbering, EventStoreError | DuplicateEventId> => {
  const numbering = Events.number(batch, state.reached, before)
  if (Either.isLeft(numbering)) return Batches.refusal(numbering.left)
  const { events } = numbering.right
  const ids = new Set<string>()
  for (const { id, stream } of events) {
    if (ids.has(id)) return new DuplicateEventId({ stream, eventId: id })
    ids.add(id)
  }
  return Effect.succeed(numbering.right)
}

/** Reads the events that precede the first imported ones. They were stored before the import, and do not change. */
const reachedAt = (
  driver: Driver,
  places: ReadonlyArray<Events.Place>
): Effect.Effect<ReadonlyMap<string, Events.Reached>, ImportError> =>
  places.length === 0
    ? Effect.succeed(new Map())
    : Effect.flatMap(driver.import.eventsAt(places), (events) => {
      const reached = new Map<string, Events.Reached>()
      for (const [index, { key, stream, version }] of places.entries()) {
        const event = events[index]
        if (Option.isNone(event)) {
          return Effect.flatMap(driver.import.versions([stream]), ([actual]) => conflict(stream, version + 1, actual))
        }
        reached.set(key, { version, link: DerivedId.proof(event.value.eventId, event.value.time) })
      }
      return Effect.succeed(reached)
    })

interface Met {
  readonly batch: Batches.Batch
  readonly before: ReadonlyMap<string, Events.Reached>
  readonly numbering: Events.Numbering
}

/** Looks up which events of a batch are stored, and the versions of its streams. */
const look = (
  driver: Driver,
  state: State,
  { batch, before, numbering }: Met
): Effect.Effect<{ readonly numbering: Events.Numbering; readonly verdict: Verdict }, ImportError> =>
  Effect.gen(function*() {
    const streams = new Map(numbering.events.map(({ key, stream }) => [key, stream]))
    const versions = yield* driver.import.versions(Array.from(streams.values()))
    const heads = new Map(Array.from(streams.keys(), (key, index) => [key, versions[index]]))
    // the look-up comes after the versions, so that it finds an event that is stored in between
    const stored = yield* storedOf(driver, numbering)
    const firsts = Array.from(
      numbering.assumed.values(),
      (event): Events.Place => ({ ...event, version: firstOf(event, { heads, stored }) - 1 })
    )
    const places = firsts.filter(({ version }) => version > 0)
    if (places.length === 0 && !numbering.isMistaken) {
      return { numbering, verdict: yield* judge(numbering.events, { heads, stored }) }
    }
    const beginning = firsts.filter(({ version }) => version === 0).map(({ key }) => [key, Events.beginning] as const)
    const more = yield* reachedAt(driver, places)
    const renumbered = yield* number(state, batch, new Map([...before, ...beginning, ...more]))
    const found = yield* storedOf(driver, renumbered)
    return { numbering: renumbered, verdict: yield* judge(renumbered.events, { heads, stored: found }) }
  })

const storedOf = (driver: Driver, { events }: Events.Numbering): Effect.Effect<Look["stored"], EventStoreError> =>
  Effect.map(
    Find.inChunks(events.map(({ id }) => id), driver.find),
    (found) => new Map(found.map((event) => [event.eventId, event]))
  )

// an event with an id has the version at which the stream holds the id, or follows the last event
const firstOf = ({ id, key, stream }: Events.Numbered, { heads, stored }: Look): number => {
  const found = stored.get(id)
  return found !== undefined && isSameStream(found.stream, stream)
    ? found.version
    : (heads.get(key) ?? 0) + 1
}

const done = (state: State, { events, reached }: Events.Numbering, imported: number, position: Position.Position) => {
  for (const [key, last] of reached) state.reached.set(key, last)
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
