/**
 * The event store on any `SqlClient` of a known dialect: SQLite.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as EventStore from "./EventStore.js"
import type { EventRow, SnapshotRow, StandingRow, TailOrSnapshotRow } from "./internal/eventStatements.js"
import { judge } from "./internal/repeatedAppend.js"
import * as SnapshotTables from "./internal/snapshotTables.js"
import { classify } from "./internal/sqlFailure.js"
import * as SqliteEvents from "./internal/sqliteEvents.js"
import { setUp } from "./internal/sqlSetUp.js"
import type { InvalidOption } from "./InvalidOption.js"
import type * as SqlMigrations from "./SqlMigrations.js"
import * as StreamId from "./StreamId.js"

/**
 * Creates the tables where they are missing, and gives the store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (
  options?: SqlMigrations.Options
) => Effect.Effect<
  EventStore.EventStore["Type"],
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = Effect.fnUntraced(function*(options) {
  const { client, names } = yield* setUp(options)
  const { inTransaction, run, sql } = client
  const statements = sql.onDialectOrElse({
    orElse: () => SqliteEvents.make(sql, names)
  })

  const failure =
    (operation: EventStore.EventStoreError["operation"], stream?: StreamId.StreamId) =>
    (error: SqlError): EventStore.EventStoreError => {
      const { detail, mayHaveHappened } = classify(error)
      return new EventStore.EventStoreError({
        operation,
        ...(stream === undefined ? {} : { stream }),
        reason: "Unavailable",
        mayHaveAppended: operation === "append" && mayHaveHappened,
        detail,
        cause: error
      })
    }

  const version = (stream: StreamId.StreamId): Effect.Effect<number, SqlError> =>
    Effect.map(run(statements.version(stream)), ([row]) => row.version)

  // an append that did not go through: was it there already, or is it a conflict?
  const explain = (
    options: Parameters<EventStore.Encoded["append"]>[0]
  ): Effect.Effect<EventStore.AppendResult, SqlError | EventStore.VersionConflict | EventStore.DuplicateEventId> =>
    Effect.gen(function*() {
      const { events, expected, stream } = options
      const ids = events.map((event) => event.id)
      const standing = yield* run(statements.standing(ids))
      const actual = yield* version(stream)
      const verdict = judge({ expected, head: actual, ids, standing: standing.map((row) => toStanding(stream, row)) })
      switch (verdict._tag) {
        case "Repeated": {
          const last = standing.find((row) => row.version === verdict.version)
          return { version: verdict.version, position: Option.map(Option.fromNullable(last), statements.position) }
        }
        case "Duplicate":
          return yield* new EventStore.DuplicateEventId({ stream, eventId: verdict.id })
        case "Conflict":
          return yield* new EventStore.VersionConflict({ stream, expected, actual })
      }
    })

  const append: EventStore.Encoded["append"] = (options) =>
    run(statements.append(options)).pipe(
      Effect.flatMap((rows) => {
        if (rows.length === 0) return explain(options)
        const last = rows.reduce((last, row) => row.version > last.version ? row : last)
        return Effect.succeed({ version: last.version, position: Option.some(statements.position(last)) })
      }),
      Effect.catchAll((error) =>
        error instanceof SqlError && classify(error).kind === "UniqueViolation" ? explain(options) : Effect.fail(error)
      ),
      Effect.mapError((error) => error instanceof SqlError ? failure("append", options.stream)(error) : error)
    )

  return EventStore.makeEncoded({
    append,
    read: (options) =>
      run(statements.read(options)).pipe(
        Effect.mapBoth({ onFailure: failure("read", options.stream), onSuccess: (rows) => rows.map(toRecord) })
      ),
    readAll: (options) =>
      run(statements.readAll(options)).pipe(
        Effect.mapBoth({ onFailure: failure("readAll"), onSuccess: (rows) => rows.map(toRecord) })
      ),
    version: (stream) => Effect.mapError(version(stream), failure("version", stream)),
    readTail: (stream, options) => Effect.mapError(run(statements.readTail(stream, options)), failure("read", stream)),
    withSnapshots: (snapshots) => {
      const table = SnapshotTables.get(snapshots)
      return table !== undefined && table.identity === client.identity
        ? Option.some((stream, options) =>
          run(statements.readWithSnapshot(table.name, stream, options)).pipe(
            Effect.mapBoth({ onFailure: failure("read", stream), onSuccess: (rows) => split(stream, rows) })
          )
        )
        : Option.none()
    },
    inTransaction
  })

  function toRecord(row: EventRow): EventStore.EncodedRecord {
    return {
      id: row.event_id,
      stream: StreamId.make(row.aggregate, row.stream_id),
      version: row.version,
      position: statements.position(row),
      type: row.type,
      payload: row.payload,
      metadata: row.metadata,
      time: row.time
    }
  }
})

/**
 * The event store with its options.
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
  options: SqlMigrations.Options
): Layer.Layer<EventStore.EventStore, InvalidOption | SqlMigrations.MigrationError, SqlClient.SqlClient> =>
  Layer.effect(EventStore.EventStore, make(options))

/**
 * The event store in tables that begin with `eventsourcing_`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  EventStore.EventStore,
  InvalidOption | SqlMigrations.MigrationError,
  SqlClient.SqlClient
> = layerWith({})

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

const toStanding = (stream: StreamId.StreamId, row: StandingRow) => ({
  id: row.event_id,
  sameStream: row.aggregate === stream.aggregate && row.stream_id === stream.id,
  version: row.version
})

const split = (
  stream: StreamId.StreamId,
  rows: ReadonlyArray<TailOrSnapshotRow>
): Effect.Effect.Success<ReturnType<EventStore.SnapshotReader>> => {
  const found = rows.find(isSnapshot)
  const events = rows.filter(isEvent)
  if (found === undefined) return { snapshot: Option.none(), events }
  const [eventId, schemaVersion, fingerprint, time] = JSON.parse(found.eventId)
  return {
    snapshot: Option.some({
      stream,
      version: found.version,
      eventId,
      schemaVersion,
      fingerprint,
      state: found.payload,
      time
    }),
    events
  }
}

const isSnapshot = (row: TailOrSnapshotRow): row is SnapshotRow => row.type === null

const isEvent = (row: TailOrSnapshotRow): row is EventStore.TailEvent => row.type !== null
