/**
 * The event store on any `SqlClient` of a known dialect: SQLite or PostgreSQL.
 *
 * An append is one statement that checks and inserts. A load reads snapshot and tail in one statement if the snapshot
 * store is on the same client. A statement takes one round trip on PostgreSQL, and about 50 microseconds on SQLite.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as EventStore from "./EventStore.js"
import { booleanProblem } from "./internal/options.js"
import * as Append from "./internal/sql/append.js"
import { Forced } from "./internal/sql/appendGroups.js"
import type { EventStatements } from "./internal/sql/dialect.js"
import * as EventLoop from "./internal/sql/eventLoop.js"
import { classify, eventStoreError } from "./internal/sql/failure.js"
import * as Feed from "./internal/sql/feed.js"
import * as Import from "./internal/sql/import.js"
import * as InlineTransaction from "./internal/sql/inlineTransaction.js"
import * as Life from "./internal/sql/life.js"
import * as LoadGroups from "./internal/sql/loadGroups.js"
import * as Loads from "./internal/sql/loads.js"
import type { Names } from "./internal/sql/names.js"
import * as Pages from "./internal/sql/pages.js"
import * as Reads from "./internal/sql/reads.js"
import * as Row from "./internal/sql/row.js"
import type { Services } from "./internal/sql/services.js"
import { setUp } from "./internal/sql/setUp.js"
import * as SnapshotRows from "./internal/sql/snapshotRows.js"
import * as Spans from "./internal/sql/spans.js"
import type { Query } from "./internal/sql/statement.js"
import type { InvalidOption } from "./InvalidOption.js"
import * as Personal from "./Personal.js"
import type * as SqlMigrations from "./SqlMigrations.js"
import * as StreamId from "./StreamId.js"

/**
 * The options of the event store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends SqlMigrations.Options {
  /**
   * Whether appends of several fibers may share a statement or a transaction, and so a round trip and a commit. An
   * append that finds the store idle is sent alone and at once. Appends that have to wait are sent together. Each
   * append has its own result. Default true.
   */
  readonly groupAppends?: boolean | undefined
  /**
   * Whether loads of several fibers may share a statement on PostgreSQL, and so a round trip. A load that finds the store
   * idle is sent alone and at once. Loads that have to wait are sent together. Each load has its own result. Default
   * true.
   */
  readonly groupLoads?: boolean | undefined
}

/**
 * Creates missing tables and returns the store.
 *
 * @example
 * ```ts
 * import { EventStore, SqlEventStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const EventStoreLive = Layer.effect(EventStore.EventStore, SqlEventStore.make({ prefix: "bank" }))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: Options) => Effect.Effect<
  EventStore.EventStore["Type"],
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = Effect.fnUntraced(function*(options) {
  const { client, dialect, names } = yield* setUp(options, ["groupAppends", "groupLoads"])
  const groups = yield* groupsOf(options)
  const eventLoop = yield* EventLoop.EventLoop
  const statements = dialect.events(names)
  const { execute, identity, inTransaction, repeat, swallow, transaction } = client
  const services: Services = { client, statements }
  const feed = yield* Feed.make(services, names)
  const span = Spans.make(client.sql)
  const select = (query: Query, stream?: StreamId.StreamId): Spans.Operation<ReadonlyArray<unknown>> => ({
    name: "SELECT",
    collection: names.events,
    stream,
    query,
    result: found
  })
  const driver: EventStore.Encoded = {
    append: span("EventStore.append", Append.make(services, { groups: groups.appends, eventLoop }), (options) => ({
      name: "INSERT",
      collection: names.events,
      stream: options.stream,
      query: statements.append(options),
      attributes: { "eventsourcing.events": options.events.length },
      result: ({ duplicate, version }) => ({ "eventsourcing.version": version, "eventsourcing.duplicate": duplicate })
    })),
    read: span(
      "EventStore.read",
      Reads.read(services),
      (options) => select(statements.read(Reads.shared(options)), options.stream)
    ),
    readPage: (options) => Effect.mapError(feed.readPage(options), eventStoreError("readPage")),
    head: Effect.mapError(feed.head, eventStoreError("head")),
    countAfter: (options) => Effect.mapError(feed.countAfter(options), eventStoreError("countAfter")),
    streams: (options) =>
      Effect.mapBoth(repeat(execute(statements.feed.streams(options))), {
        onFailure: eventStoreError("streams"),
        onSuccess: (rows) => rows.map((row) => ({ id: Row.text(row.stream_id), version: Row.number(row.version) }))
      }),
    version: (stream) => Effect.mapError(Append.version(services, stream), eventStoreError("version", stream)),
    find: span("EventStore.find", (eventIds) =>
      Effect.mapBoth(repeat(execute(statements.standing(eventIds))), {
        onFailure: eventStoreError("find"),
        onSuccess: (rows) => rows.map((row) => toFound(statements, row))
      }), (eventIds) => select(statements.standing(eventIds))),
    import: importing(services, names, span),
    readTail: span(
      "EventStore.readTail",
      Loads.readTail(services),
      (stream, options) => select(statements.readTail({ ...options, ...Pages.first(options.limit), stream }), stream)
    ),
    withSnapshots: (snapshots) => {
      const table = SnapshotRows.StoreWithTable.tableOf(snapshots)
      if (table === undefined || table.client !== identity) return Option.none()
      const load = statements.readWithSnapshot(table.name)
      const send = LoadGroups.make(client, load, groups.loads)
      return Option.some({
        read: span(
          "EventStore.load",
          Loads.readWithSnapshot(services, send),
          (stream, options) => ({
            ...select(load.one({ ...options, ...Pages.first(options.limit), stream }), stream),
            result: ({ events }) => found(events)
          })
        ),
        transaction: (effect) => Effect.mapError(transaction(effect), transactionError)
      })
    },
    inTransaction,
    attempt: (effect) => Effect.mapError(swallow(effect), eventStoreError("read")),
    inline: InlineTransaction.make(client),
    life: Life.make(services)
  }
  return EventStore.makeEncoded(yield* Personal.driver(driver))
})

/**
 * Provides the event store with options. `SqlStores.layerWith` provides all stores with the same options.
 *
 * @example
 * ```ts
 * import { SqlEventStore } from "effect-eventsourcing"
 *
 * const EventStoreLive = SqlEventStore.layerWith({ prefix: "bank" })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<EventStore.EventStore, InvalidOption | SqlMigrations.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(EventStore.EventStore, make(options))

/**
 * Provides the event store in tables that begin with `eventsourcing_`.
 *
 * @example
 * ```ts
 * import { SnapshotStore, SqlEventStore } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresLive = Layer.merge(SqlEventStore.layer, SnapshotStore.layerNoop)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = layerWith({})

const groupsOf = (
  options: Options = {}
): Effect.Effect<{ readonly appends: Append.Groups; readonly loads: Append.Groups }, InvalidOption> =>
  Effect.flatMap(Forced, (forced) => {
    const { groupAppends = true, groupLoads = true } = options
    const problem = booleanProblem("groupAppends", groupAppends) ?? booleanProblem("groupLoads", groupLoads)
    if (problem !== undefined) return problem
    const groups = (on: boolean): Append.Groups => !on ? "alone" : forced ? "forced" : "grouped"
    return Effect.succeed({ appends: groups(groupAppends), loads: groups(groupLoads) })
  })

const transactionError = <E>(error: E | SqlError): E | EventStore.EventStoreError =>
  error instanceof SqlError ? eventStoreError("append", undefined, classify(error).mayHaveHappened)(error) : error

const found = (events: ReadonlyArray<unknown>) => ({ "eventsourcing.events": events.length })

const importing = (services: Services, names: Names, span: Spans.Spans): EventStore.ImportDriver => {
  const driver = Import.make(services)
  return {
    ...driver,
    insert: span("EventStore.import", driver.insert, (options) => ({
      name: "INSERT",
      collection: names.events,
      query: services.statements.import.insert(options),
      attributes: { "eventsourcing.events": options.events.length }
    }))
  }
}

const toFound = ({ position }: EventStatements, row: Row.Row): EventStore.FoundEvent => ({
  eventId: Row.text(row.event_id),
  stream: StreamId.make(Row.text(row.aggregate), Row.text(row.stream_id)),
  version: Row.number(row.version),
  position: position(row)
})
