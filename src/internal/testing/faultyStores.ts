import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.js"
import * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import * as SnapshotStore from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"
import { inject, type Met, type Operation, type Site, type start } from "./injection.js"

type Next = ReturnType<typeof start>
type OperationsOf<Store extends string> = Operation extends infer O ? O extends `${Store}.${infer Name}` ? Name : never
  : never

// the errors of the store name the operation of its interface
const operations: Readonly<Record<OperationsOf<"EventStore">, EventStore.EventStoreError["operation"]>> = {
  append: "append",
  read: "read",
  readEvents: "read",
  readAll: "readAll",
  readPage: "readPage",
  head: "head",
  countAfter: "countAfter",
  streams: "streams",
  version: "version",
  find: "find",
  import: "import",
  readTail: "read",
  readWithSnapshot: "read",
  transaction: "append"
}

/** Wraps an event store. */
export const eventStore = (store: EventStore.EventStore["Type"], next: Next): EventStore.EventStore["Type"] => {
  const at = (name: OperationsOf<"EventStore">, stream?: StreamId.StreamId): Site<EventStore.EventStoreError> => {
    const operation = operations[name]
    return {
      meet: () => next(`EventStore.${name}`, stream),
      failure: (injected, when) =>
        new EventStore.EventStoreError({
          operation,
          ...(stream === undefined ? {} : { stream }),
          reason: "Unavailable",
          mayHaveAppended: (operation === "append" || operation === "import") && when === "After",
          detail: injected.message,
          cause: injected
        })
    }
  }
  return EventStore.EventStore.of({
    append: (stream, events, options) => inject(at("append", stream), store.append(stream, events, options)),
    read: (stream, options) => injectEvents(at("read", stream), store.read(stream, options)),
    readEvents: (stream, options) => injectArray(at("readEvents", stream), store.readEvents(stream, options)),
    readAll: (options) => injectEvents(at("readAll"), store.readAll(options)),
    readPage: (options) => inject(at("readPage"), store.readPage(options), corruptFeedPage),
    head: inject(at("head"), store.head),
    countAfter: (after, options) => inject(at("countAfter"), store.countAfter(after, options)),
    streams: (options) => inject(at("streams"), store.streams(options)),
    version: (stream) => inject(at("version", stream), store.version(stream)),
    import: (events, options) => injectStream(at("import"), store.import(events, options)),
    find: (eventIds) => inject(at("find"), store.find(eventIds)),
    replay: {
      readTail: (stream, options) =>
        inject(at("readTail", stream), store.replay.readTail(stream, options), corruptPage),
      withSnapshots: (snapshots) =>
        Option.map(store.replay.withSnapshots(snapshots), (shared): EventStore.SharedDatabase => ({
          read: (stream, options) => inject(at("readWithSnapshot", stream), shared.read(stream, options), corruptTail),
          transaction: (effect) => inject(at("transaction"), shared.transaction(effect))
        })),
      inTransaction: store.replay.inTransaction,
      attempt: store.replay.attempt,
      onAppend: store.replay.onAppend,
      inline: store.replay.inline,
      lastRewritten: store.replay.lastRewritten,
      life: store.replay.life,
      sealing: store.replay.sealing
    }
  })
}

/** Wraps a snapshot store. */
export const snapshotStore = (
  store: SnapshotStore.SnapshotStore["Type"],
  next: Next
): SnapshotStore.SnapshotStore["Type"] => {
  const atType = (
    name: OperationsOf<"SnapshotStore">,
    aggregate: string,
    stream?: StreamId.StreamId
  ): Site<SnapshotStore.SnapshotStoreError> => ({
    meet: () => next(`SnapshotStore.${name}`, stream),
    failure: (injected) =>
      new SnapshotStore.SnapshotStoreError({
        operation: name,
        aggregate,
        ...(stream === undefined ? {} : { id: stream.id }),
        reason: "Unavailable",
        detail: injected.message,
        cause: injected
      })
  })
  const at = (name: OperationsOf<"SnapshotStore">, stream: StreamId.StreamId) => atType(name, stream.aggregate, stream)
  return SnapshotStore.SnapshotStore.of({
    get: (stream, options) =>
      inject(
        at("get", stream),
        store.get(stream, options),
        (found, n) => Option.map(found, (snapshot) => Option.some(corruptSnapshot(snapshot, n)))
      ),
    save: (snapshot) =>
      Effect.suspend(() => {
        const site = at("save", snapshot.stream)
        const met = site.meet()
        const isCorrupt = met.fault?._tag === "Corrupt"
        if (isCorrupt) met.tell()
        const saved = store.save(isCorrupt ? corruptSnapshot(snapshot, met.call.n) : snapshot)
        return inject({ ...site, meet: () => met }, saved)
      }),
    delete: (stream, options) => inject(at("delete", stream), store.delete(stream, options)),
    exists: (stream, options) => inject(at("exists", stream), store.exists(stream, options)),
    deleteByType: (aggregate, options) =>
      inject(atType("deleteByType", aggregate), store.deleteByType(aggregate, options))
  })
}

const injectStream = <A, E, R, F, G = never>(
  site: Site<F>,
  run: Stream.Stream<A, E, R>,
  corrupt: (met: Met) => Stream.Stream<A, E | G, R> = () => run
): Stream.Stream<A, E | F | G, R> =>
  Stream.suspend((): Stream.Stream<A, E | F | G, R> => {
    const met = site.meet()
    const { fault, tell } = met
    if (fault === undefined) return run
    if (fault._tag === "Duplicate") {
      tell()
      return Stream.concat(Stream.drain(Stream.catchAllCause(run, () => Stream.empty)), run)
    }
    if (fault._tag === "Corrupt") return corrupt(met)
    const happens = Stream.drain(Stream.fromEffect(inject({ ...site, meet: () => met }, Effect.void)))
    return "when" in fault && fault.when === "After" ? Stream.concat(run, happens) : Stream.concat(happens, run)
  })

const injectEvents = <E, F>(
  site: Site<F>,
  run: Stream.Stream<Event.RecordedEvent, E>
): Stream.Stream<Event.RecordedEvent, E | F | EventStore.EventDecodeError> =>
  injectStream(
    site,
    run,
    ({ call, mark, tell }) =>
      Stream.mapChunksEffect(run, (page) =>
        Option.match(Chunk.get(page, call.n % Math.max(1, page.length)), {
          onNone: () => Effect.succeed(page),
          onSome: (event) => {
            tell()
            return Effect.fail(undecodable(event, mark()))
          }
        }))
  )

const injectArray = <E, F>(
  site: Site<F>,
  run: Effect.Effect<ReadonlyArray<Event.RecordedEvent>, E>
): Effect.Effect<ReadonlyArray<Event.RecordedEvent>, E | F | EventStore.EventDecodeError> =>
  Effect.suspend((): Effect.Effect<ReadonlyArray<Event.RecordedEvent>, E | F | EventStore.EventDecodeError> => {
    const met = site.meet()
    const { call, fault, mark, tell } = met
    if (fault?._tag !== "Corrupt") return inject({ ...site, meet: () => met }, run)
    return Effect.flatMap(run, (events) => {
      if (events.length === 0) return Effect.succeed(events)
      tell()
      return Effect.fail(undecodable(events[call.n % events.length], mark()))
    })
  })

const undecodable = (
  { id, position, stream, type, version }: Event.RecordedEvent,
  cause: unknown
): EventStore.EventDecodeError =>
  new EventStore.EventDecodeError({ stream, version, type, eventId: id, position, cause })

const corruptFeedPage = (page: EventStore.Page, n: number, mark: () => unknown): Option.Option<EventStore.Page> => {
  const { events } = page
  if (events.length === 0) return Option.none()
  const broken = n % events.length
  const corrupted = events.map((event, index) => index === broken ? unreadable(event, mark()) : event)
  return Option.some({ ...page, events: corrupted })
}

const unreadable = (
  event: Event.RecordedEvent | Event.UnreadableEvent,
  cause: unknown
): Event.UnreadableEvent => {
  if (Event.isUnreadable(event)) return event
  const { id, position, stream, time, type, version } = event
  const error = undecodable(event, cause)
  return new Event.UnreadableEvent({ id, stream, version, position, type, time: Option.some(time), error })
}

const corruptPage = (
  page: ReadonlyArray<EventStore.TailEvent>,
  n: number
): Option.Option<ReadonlyArray<EventStore.TailEvent>> => {
  if (page.length === 0) return Option.none()
  const broken = n % page.length
  return Option.some(page.map((event, index) => index === broken ? corruptEvent(event, n) : event))
}

const corruptEvent = (event: EventStore.TailEvent, n: number): EventStore.TailEvent => {
  switch (n % 3) {
    case 0:
      return { ...event, payload: "{" }
    case 1:
      return { ...event, type: "corrupt" }
    default:
      return { ...event, version: event.version + 1_000_000 }
  }
}

interface Tail {
  readonly snapshot: Option.Option<Snapshot.EncodedSnapshot>
  readonly erased?: boolean | undefined
  readonly events: ReadonlyArray<EventStore.TailEvent>
}

const corruptTail = ({ erased, events, snapshot }: Tail, n: number): Option.Option<Tail> =>
  n % 2 === 0
    ? Option.map(corruptPage(events, n), (events) => ({ snapshot, events, erased }))
    : Option.map(snapshot, (found) => ({
      events,
      erased,
      // for another fingerprint the store would have chosen other events
      snapshot: Option.some(corruptSnapshot(found, n % 5 === 3 ? 0 : n))
    }))

const corruptSnapshot = (snapshot: Snapshot.EncodedSnapshot, n: number): Snapshot.EncodedSnapshot => {
  switch (n % 5) {
    case 0:
      return { ...snapshot, state: "{" }
    case 1:
      return { ...snapshot, version: snapshot.version + 1_000_000 }
    case 2:
      return { ...snapshot, eventId: "corrupt" }
    case 3:
      return { ...snapshot, fingerprint: "corrupt" }
    default:
      return { ...snapshot, version: 0 }
  }
}
