// Reads the events of an import in batches, each small enough for one statement.
// Mechanism: each event is checked and encoded as it arrives, and a batch is emitted as soon as it is full. So an
// import holds one batch, and can store a source that never ends.
// Costs one pass over the events, and no Effect for an event.
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { unreadable } from "../text.js"
import { EventStoreError } from "./eventErrors.js"
import * as Events from "./importEvents.js"
import type { ImportedEvent } from "./importModel.js"

export type Batch = ReadonlyArray<Events.Item>

export interface Options {
  readonly batchSize: number
  readonly markers: "refuse" | "keep"
}

/** Reads the events in batches. A source that fails gives its last events before it fails; an invalid event gives none. */
export const read = <E, R>(
  events: Stream.Stream<ImportedEvent, E, R>,
  options: Options
): Stream.Stream<Batch, E | EventStoreError, R> =>
  Stream.suspend(() => Stream.pipeThroughChannelOrFail(events, collect(makeCollector(options))))

export const refusal = (detail: string, cause?: unknown): EventStoreError =>
  new EventStoreError({
    operation: "import",
    reason: "InvalidInput",
    mayHaveAppended: false,
    detail,
    ...(cause === undefined ? {} : { cause })
  })

type Collecting<E> = Channel.Channel<
  Chunk.Chunk<Batch>,
  Chunk.Chunk<ImportedEvent>,
  E | EventStoreError,
  E,
  unknown,
  unknown
>

const collect = <E>(collector: Collector): Collecting<E> => {
  const rest = Channel.suspend(() => Channel.write(Chunk.fromIterable(collector.rest())))
  const loop: Collecting<E> = Channel.readWithCause({
    onInput: (chunk: Chunk.Chunk<ImportedEvent>) => {
      const { batches, failure } = collector.add(chunk)
      const full = Channel.write(Chunk.unsafeFromArray(batches))
      return Channel.zipRight(full, failure === undefined ? loop : Channel.fail(failure))
    },
    onFailure: (cause) => Channel.zipRight(rest, Channel.failCause(cause)),
    onDone: () => rest
  })
  return loop
}

interface Collector {
  /** Gives the batches that are full now, and why an event cannot be stored. */
  readonly add: (events: Iterable<ImportedEvent>) => {
    readonly batches: ReadonlyArray<Batch>
    readonly failure: EventStoreError | undefined
  }
  /** Gives the events that are left, in one batch or none. */
  readonly rest: () => ReadonlyArray<Batch>
}

const makeCollector = ({ batchSize, markers }: Options): Collector => {
  let number = 0
  let items: Array<Events.Item> = []
  let length = 0
  const end = (batches: Array<Batch>) => {
    if (items.length > 0) batches.push(items)
    items = []
    length = 0
    return batches
  }
  return {
    rest: () => end([]),
    add: (events) => {
      const batches: Array<Batch> = []
      for (const event of events) {
        const item = readItem(++number, event, markers)
        if (item instanceof EventStoreError) return { batches, failure: item }
        if (length + Events.lengthOf(item) > maxBatchLength) end(batches)
        items.push(item)
        length += Events.lengthOf(item)
        if (items.length === batchSize) end(batches)
      }
      return { batches, failure: undefined }
    }
  }
}

const readItem = (
  number: number,
  event: ImportedEvent,
  markers: Options["markers"]
): Events.Item | EventStoreError => {
  try {
    return Either.getOrElse(
      Events.read(number, event, markers),
      (problem) => refusal(`event ${number} of the import: ${problem}`)
    )
  } catch (cause) {
    return refusal(`event ${number} of the import: ${unreadable}`, cause)
  }
}

// a statement holds a batch several times on its way
const maxBatchLength = 16_000_000
