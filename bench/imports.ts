import { DateTime, Effect, Stream } from "effect"
import { EventStore, ExpectedVersion, StreamId } from "effect-eventsourcing"
import { type Backend, type HistoricEvent, work } from "./backend.js"
import { deposited, newId } from "./fixtures.js"
import type { Contender } from "./measure.js"
import { emptyStream } from "./rows.js"
import type { Suite } from "./suite.js"

const size = 10_000
const batchSize = 1_000
const library = "effect-eventsourcing"

/** A history of streams that have no event yet, in turn. */
const history = (streams: number): ReadonlyArray<HistoricEvent> => {
  const { aggregate, id } = emptyStream("import")
  const time = Date.now()
  return Array.from({ length: size }, (_, n) => ({
    stream: StreamId.make(aggregate, `${id}-${n % streams}`),
    version: Math.floor(n / streams) + 1,
    event: deposited,
    time: time + n
  }))
}

const toImport = (withIds: boolean) => ({ event, stream, time }: HistoricEvent): EventStore.ImportedEvent => ({
  stream,
  type: event._tag,
  payload: event,
  time: DateTime.unsafeMake(time),
  ...(withIds ? { id: newId() } : {})
})

/** Imports of histories, beside one plain statement for each batch, and beside an append for each event. */
export const imports = async (suite: Suite, backend: Backend): Promise<void> => {
  const store = await backend.runtime.runPromise(EventStore.EventStore)
  const importing = (events: ReadonlyArray<EventStore.ImportedEvent>) =>
    Stream.runDrain(store.import(Stream.fromIterable(events), { batchSize }))
  const plainly: (streams: number) => Contender = (streams) => ({
    name: "driver, one statement a batch",
    run: async (times) => {
      for (let i = 0; i < times; i++) {
        const events = history(streams)
        for (let from = 0; from < size; from += batchSize) {
          await backend.driver.insertMany(events.slice(from, from + batchSize))
        }
      }
    }
  })
  const oneByOne: (streams: number) => Contender = (streams) => ({
    name: "an append for each event",
    run: work(
      backend.runtime,
      Effect.suspend(() =>
        Effect.forEach(history(streams), ({ event, stream, time, version }) =>
          store.append(
            stream,
            [{ id: newId(), type: event._tag, payload: event, time: DateTime.unsafeMake(time) }],
            { expectedVersion: ExpectedVersion.exact(version - 1) }
          ), { discard: true })
      )
    )
  })
  for (
    const { alone, streams, withIds } of [
      { streams: 1, withIds: false, alone: [] },
      { streams: 100, withIds: false, alone: [oneByOne(100)] },
      { streams: 100, withIds: true, alone: [] },
      { streams: size, withIds: false, alone: [] }
    ]
  ) {
    const name = `import, ${streams === 1 ? "one stream" : `${streams.toLocaleString("en")} streams`}` +
      (withIds ? ", with ids" : "")
    if (!suite.wants(name, backend.name)) continue
    const run = work(backend.runtime, Effect.suspend(() => importing(history(streams).map(toImport(withIds)))))
    await suite.compare({
      name,
      backend: backend.name,
      size,
      contenders: [{ name: library, run }, plainly(streams), ...alone]
    })
  }

  const again = "import that is stored already"
  if (!suite.wants(again, backend.name)) return
  const stored = history(100).map(toImport(false))
  await backend.runtime.runPromise(importing(stored))
  await suite.compare({
    name: again,
    backend: backend.name,
    size,
    contenders: [{ name: library, run: work(backend.runtime, importing(stored)) }, plainly(100)]
  })
}
