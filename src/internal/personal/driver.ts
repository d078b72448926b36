// Seals the payloads that a driver writes, and opens those that it reads.
// Without `Personal.layer` it only refuses personal data: it would be stored in clear.
// Costs a search in each payload for the marker.
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Event from "../../Event.js"
import type { KeyStoreError } from "../../KeyStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { EventStoreError } from "../store/eventErrors.js"
import type { EncodedPage, EncodedPageOptions } from "../store/feedModel.js"
import type { ImportDriver } from "../store/importModel.js"
import type { LifeDriver } from "../store/life.js"
import type { ReplaySeam, SharedDatabase, TailEvent } from "../store/replaySeam.js"
import type { Sealing, Text, Unsealable } from "../store/sealing.js"
import * as Marks from "./marks.js"

interface Append {
  readonly stream: StreamId.StreamId
  readonly events: Arr.NonEmptyReadonlyArray<Event.EncodedEvent>
}

interface Read {
  readonly stream: StreamId.StreamId
}

/** The part of a driver that has payloads. */
interface Payloads<in O extends Append, out A, out E, in R extends Read> {
  readonly append: (options: O) => Effect.Effect<A, E>
  readonly read: (options: R) => Effect.Effect<ReadonlyArray<Event.EncodedRecord>, EventStoreError>
  readonly readPage: (options: EncodedPageOptions) => Effect.Effect<EncodedPage, EventStoreError>
  readonly import: ImportDriver
  readonly readTail: ReplaySeam["readTail"]
  readonly withSnapshots: (snapshots: SnapshotStore["Type"]) => Option.Option<SharedDatabase>
  readonly life?: LifeDriver | undefined
}

export const over = <O extends Append, A, E, R extends Read>(
  driver: Payloads<O, A, E, R>,
  sealing: Option.Option<Sealing["Type"]>
): Payloads<O, A, E | EventStoreError, R> & { readonly sealing?: Sealing["Type"] } =>
  Option.match(sealing, { onNone: () => refusing(driver), onSome: (sealing) => sealingOver(driver, sealing) })

const refusing = <O extends Append, A, E, R extends Read>(
  driver: Payloads<O, A, E, R>
): Payloads<O, A, E | EventStoreError, R> => {
  const { append, import: imports, life, read, readPage, readTail, withSnapshots } = driver
  return {
    append: (options) => {
      const index = clearAmong(options.events)
      return index < 0 ? append(options) : invalid("append", options, index, noSealing, options.stream)
    },
    import: {
      ...imports,
      insert: (options) => {
        const index = clearAmong(options.events)
        return index < 0 ? imports.insert(options) : invalid("import", options, index, noSealing)
      }
    },
    read,
    readPage,
    readTail,
    withSnapshots,
    life: life && {
      ...life,
      replace: (stream, event) =>
        isClear(event) ? invalid("rewrite", { events: [event] }, 0, noSealing, stream) : life.replace(stream, event)
    }
  }
}

const noSealing = "has personal data, and the store cannot seal it: provide Personal.layer to the layers of the stores"

// sealed data of an export may be imported as it is
const clearAmong = (events: ReadonlyArray<Event.EncodedEvent>): number => events.findIndex(isClear)

const isClear = ({ payload }: Pick<Event.EncodedEvent, "payload">): boolean =>
  Marks.mayHave(payload) && Marks.find(payload)?.marks.some(({ form }) => form._tag === "Clear") === true

const sealingOver = <O extends Append, A, E, R extends Read>(
  driver: Payloads<O, A, E, R>,
  sealing: Sealing["Type"]
): Payloads<O, A, E | EventStoreError, R> & { readonly sealing: Sealing["Type"] } => ({
  sealing,
  append: (options) => {
    const { events, stream } = options
    if (!events.some(({ payload }) => Marks.mayHave(payload))) return driver.append(options)
    return Effect.flatMap(
      sealAll(sealing, "append", events.map(({ payload }) => eventText(stream, payload)), stream),
      (sealed) => driver.append({ ...options, events: withPayloads(events, sealed) })
    )
  },
  read: (options) =>
    opening(sealing, "read", driver.read(options), (records) => records, (_, records) => records, options.stream),
  readPage: (options) =>
    opening(sealing, "readPage", driver.readPage(options), ({ records }) => records, (page, records) => ({
      ...page,
      records
    })),
  import: {
    ...driver.import,
    insert: (options) => {
      const { events } = options
      if (!events.some(({ payload }) => Marks.mayHave(payload))) return driver.import.insert(options)
      return Effect.flatMap(
        sealAll(sealing, "import", events.map(({ payload, stream }) => eventText(stream, payload))),
        (sealed) =>
          driver.import.insert({ ...options, events: events.map((event, at) => ({ ...event, payload: sealed[at] })) })
      )
    }
  },
  life: driver.life && sealingLife(driver.life, sealing),
  readTail: (stream, options) =>
    Effect.flatMap(driver.readTail(stream, options), (events) => openTail(sealing, stream, events)),
  withSnapshots: (snapshots) =>
    Option.map(driver.withSnapshots(snapshots), (shared): SharedDatabase => ({
      ...shared,
      read: (stream, options) =>
        Effect.flatMap(shared.read(stream, options), ({ events, snapshot }) =>
          Effect.zipWith(
            openTail(sealing, stream, events),
            openSnapshot(sealing, snapshot),
            (events, { erased, snapshot }) => ({ events, snapshot, erased })
          ))
    }))
})

const sealingLife = (life: LifeDriver, sealing: Sealing["Type"]): LifeDriver => ({
  ...life,
  replace: (stream, event) =>
    Marks.mayHave(event.payload)
      ? Effect.flatMap(
        sealAll(sealing, "rewrite", [eventText(stream, event.payload)], stream),
        ([payload]) => life.replace(stream, { ...event, payload })
      )
      : life.replace(stream, event),
  contents: (places, bytes) =>
    Effect.flatMap(
      life.contents(places, bytes),
      (contents) =>
        contents.some(({ payload }) => payload !== null && Marks.mayHave(payload))
          ? Effect.mapBoth(
            sealing.open(contents.map(({ payload, place }) => eventText(places[place].stream, payload ?? ""))),
            {
              onFailure: (error) => unavailable("read", error),
              onSuccess: (texts) =>
                contents.map((content, index) => ({
                  ...content,
                  payload: content.payload === null ? null : texts[index].text
                }))
            }
          )
          : Effect.succeed(contents)
    )
})

const withPayloads = (
  [first, ...rest]: Arr.NonEmptyReadonlyArray<Event.EncodedEvent>,
  payloads: ReadonlyArray<string>
): Arr.NonEmptyReadonlyArray<Event.EncodedEvent> => [
  { ...first, payload: payloads[0] },
  ...rest.map((event, index) => ({ ...event, payload: payloads[index + 1] }))
]

const eventText = (stream: StreamId.StreamId, text: string): Text => ({ kind: "event", stream, text })

const sealAll = (
  sealing: Sealing["Type"],
  operation: "append" | "import" | "rewrite",
  texts: ReadonlyArray<Text>,
  stream?: StreamId.StreamId
): Effect.Effect<ReadonlyArray<string>, EventStoreError> =>
  Effect.catchAll(sealing.seal(texts), (error) =>
    error._tag === "KeyStoreError"
      ? Effect.fail(unavailable(operation, error, stream))
      : invalid(operation, { events: texts }, error.index, describe(error), stream, error))

const describe = ({ path, problem }: Unsealable): string => `at ${path} ${problem}`

const invalid = (
  operation: "append" | "import" | "rewrite",
  { events }: { readonly events: ReadonlyArray<unknown> },
  index: number,
  problem: string,
  stream?: StreamId.StreamId,
  cause?: unknown
): EventStoreError =>
  new EventStoreError({
    operation,
    ...(stream === undefined ? {} : { stream }),
    reason: "InvalidInput",
    mayHaveAppended: false,
    detail: `the payload of event ${index + 1} of ${events.length} ${problem}`,
    ...(cause === undefined ? {} : { cause })
  })

/** The error of a store whose key store failed. Nothing was stored. */
export const unavailable = (
  operation: EventStoreError["operation"],
  cause: KeyStoreError,
  stream?: StreamId.StreamId
): EventStoreError =>
  new EventStoreError({
    operation,
    ...(stream === undefined ? {} : { stream }),
    reason: "Unavailable",
    mayHaveAppended: false,
    detail: `the key store failed: ${cause.detail}`,
    cause
  })

const opening = <A>(
  sealing: Sealing["Type"],
  operation: EventStoreError["operation"],
  reading: Effect.Effect<A, EventStoreError>,
  recordsOf: (read: A) => ReadonlyArray<Event.EncodedRecord>,
  opened: (read: A, records: ReadonlyArray<Event.EncodedRecord>) => A,
  stream?: StreamId.StreamId
): Effect.Effect<A, EventStoreError> =>
  Effect.flatMap(reading, (read) => {
    const records = recordsOf(read)
    if (!records.some(({ payload }) => Marks.mayHave(payload))) return Effect.succeed(read)
    return Effect.mapBoth(sealing.open(records.map(({ payload, stream }) => eventText(stream, payload))), {
      onFailure: (error) => unavailable(operation, error, stream),
      onSuccess: (texts) => opened(read, records.map((record, index) => ({ ...record, payload: texts[index].text })))
    })
  })

const openTail = (
  sealing: Sealing["Type"],
  stream: StreamId.StreamId,
  events: ReadonlyArray<TailEvent>
): Effect.Effect<ReadonlyArray<TailEvent>, EventStoreError> =>
  events.some(({ payload }) => Marks.mayHave(payload))
    ? Effect.mapBoth(sealing.open(events.map(({ payload }) => eventText(stream, payload))), {
      onFailure: (error) => unavailable("read", error, stream),
      onSuccess: (texts) => events.map((event, index) => ({ ...event, payload: texts[index].text }))
    })
    : Effect.succeed(events)

const openSnapshot = (
  sealing: Sealing["Type"],
  snapshot: Option.Option<Snapshot.EncodedSnapshot>
): Effect.Effect<
  { readonly snapshot: Option.Option<Snapshot.EncodedSnapshot>; readonly erased: boolean },
  EventStoreError
> =>
  Option.isNone(snapshot) || !Marks.mayHave(snapshot.value.state)
    ? Effect.succeed({ snapshot, erased: false })
    : Effect.mapBoth(openState(sealing, snapshot.value), {
      onFailure: (error) => unavailable("read", error, snapshot.value.stream),
      onSuccess: ({ erased, snapshot }) => ({ snapshot: Option.some(snapshot), erased })
    })

/** Opens the state of a snapshot, and tells whether it had data of a subject that was erased since. */
export const openState = (
  sealing: Sealing["Type"],
  snapshot: Snapshot.EncodedSnapshot
): Effect.Effect<{ readonly snapshot: Snapshot.EncodedSnapshot; readonly erased: boolean }, KeyStoreError> =>
  Effect.map(
    sealing.open([{ kind: "state", stream: snapshot.stream, text: snapshot.state }]),
    ([{ erased, text }]) => ({
      snapshot: { ...snapshot, state: text },
      erased
    })
  )

/** Seals the state of a snapshot. */
export const sealState = (
  sealing: Sealing["Type"],
  snapshot: Snapshot.EncodedSnapshot
): Effect.Effect<Snapshot.EncodedSnapshot, Unsealable | KeyStoreError> =>
  Effect.map(sealing.seal([{ kind: "state", stream: snapshot.stream, text: snapshot.state }]), ([state]) => ({
    ...snapshot,
    state
  }))
