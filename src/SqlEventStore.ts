/**
 * The event store on any `SqlClient` of a known dialect: SQLite or PostgreSQL.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as EventStore from "./EventStore.js"
import * as ExpectedVersion from "./ExpectedVersion.js"
import { liveClock } from "./internal/liveClock.js"
import { judge } from "./internal/sql/appendVerdict.js"
import { type EventRow, type LoadOptions, shapeOf, type StandingRow, type TailOptions } from "./internal/sql/dialect.js"
import { classify } from "./internal/sql/failure.js"
import { withoutRows } from "./internal/sql/failureText.js"
import * as Feed from "./internal/sql/feed.js"
import * as PgEvents from "./internal/sql/postgres/statements.js"
import * as Row from "./internal/sql/row.js"
import { setUp } from "./internal/sql/setUp.js"
import * as SnapshotTables from "./internal/sql/snapshotTables.js"
import * as SqliteEvents from "./internal/sql/sqlite/statements.js"
import * as FixedStatement from "./internal/sql/statement.js"
import type { InvalidOption } from "./InvalidOption.js"
import type * as Snapshot from "./Snapshot.js"
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
  const { attempt, execute, executeValues, inTransaction, query, repeat, sql, swallow } = client
  const statements = sql.onDialectOrElse({
    pg: () => PgEvents.make(sql, names),
    orElse: () => SqliteEvents.make(sql, names)
  })

  const failure = (
    operation: EventStore.EventStoreError["operation"],
    stream?: StreamId.StreamId,
    mayHaveAppended = false
  ) =>
  (error: SqlError): EventStore.EventStoreError => {
    const { detail } = classify(error)
    return new EventStore.EventStoreError({
      operation,
      ...(stream === undefined ? {} : { stream }),
      reason: "Unavailable",
      mayHaveAppended,
      detail,
      cause: withoutRows(error)
    })
  }

  const version = (stream: StreamId.StreamId): Effect.Effect<number, SqlError> =>
    Effect.map(
      repeat(execute<{ readonly version: unknown }>(statements.version.text, statements.version.params(stream))),
      ([row]) => Row.number(row.version)
    )

  const isViolation = (error: unknown): error is SqlError =>
    error instanceof SqlError && classify(error).kind === "UniqueViolation"

  const isOurs = (error: SqlError): Effect.Effect<boolean, SqlError> => {
    const ours = statements.isOurs(classify(error))
    return typeof ours === "boolean" ? Effect.succeed(ours) : Effect.map(repeat(query(ours)), (rows) => rows.length > 0)
  }

  const { isolation } = statements
  const seesNothingNew = Effect.flatMap(inTransaction, (open) =>
    open && isolation !== undefined
      ? Effect.map(repeat(query(isolation)), ([{ level }]) => Row.text(level) !== "read committed")
      : Effect.succeed(false))

  // an append that did not go through: was it there already, or is it a conflict?
  const explain = (
    options: Parameters<EventStore.Encoded["append"]>[0]
  ): Effect.Effect<
    EventStore.AppendResult,
    SqlError | Overtaken | EventStore.VersionConflict | EventStore.DuplicateEventId
  > =>
    Effect.gen(function*() {
      const { events, expected, stream } = options
      const ids = events.map((event) => event.id)
      const standing = yield* repeat(query(statements.standing(ids)))
      const actual = yield* version(stream)
      const verdict = judge({ expected, head: actual, ids, standing: standing.map((row) => toStanding(stream, row)) })
      switch (verdict._tag) {
        case "Repeated": {
          const last = standing.find((row) => Row.number(row.version) === verdict.version)
          return { version: verdict.version, position: Option.map(Option.fromNullable(last), statements.position) }
        }
        case "Duplicate":
          return yield* new EventStore.DuplicateEventId({ stream, eventId: verdict.id })
        case "Conflict": {
          const { max, min } = ExpectedVersion.bounds(expected)
          return standing.length === 0 && actual >= min && actual <= max
            ? yield* new Overtaken({ head: actual, forGood: yield* seesNothingNew })
            : yield* new EventStore.VersionConflict({ stream, expected, actual })
        }
      }
    })

  const append: EventStore.Encoded["append"] = (options) =>
    Effect.suspend(() => {
      const { stream } = options
      // an earlier try may have gone through, whatever became of the last one
      let mayHaveAppended = false
      // the head of the stream after the last try that violated an index and left no other trace
      let overtakenAt: number | undefined
      const note = (error: SqlError) =>
        Effect.sync(() => {
          mayHaveAppended ||= classify(error).mayHaveHappened
        })
      const { params, text } = statements.append(options.events.length)
      const inserted = Effect.tapError(Effect.suspend(() => executeValues(text, params(options))), note)
      const once = attempt(inserted).pipe(
        Effect.flatMap((rows) => {
          const last = statements.appended(rows)
          if (last === undefined) return explain(options)
          return Effect.succeed({ version: last.version, position: Option.some(statements.position(last)) })
        }),
        Effect.catchAll((error) =>
          !isViolation(error) ? Effect.fail(error) : Effect.catchTag(explain(options), "Overtaken", (overtaken) => {
            // what stands in the store explains nothing: another unique index would be violated again every time. One
            // on our columns may compare them in another way; who was really overtaken finds a stream that has grown
            const again = overtakenAt === overtaken.head
            overtakenAt = overtaken.head
            return again
              ? Effect.fail(error)
              : Effect.flatMap(isOurs(error), (ours) => Effect.fail(ours ? overtaken : error))
          })
        )
      )
      return once.pipe(
        Effect.catchTag("Overtaken", (error) =>
          error.forGood
            ? Effect.fail(error)
            : Effect.withClock(Effect.retry(once, { schedule: overtakenSchedule, while: isPassing }), liveClock)),
        Effect.mapError((error) => {
          if (error instanceof SqlError) {
            return failure("append", stream, mayHaveAppended)(error)
          }
          if (!isOvertaken(error)) {
            return error
          }
          return new EventStore.EventStoreError({
            operation: "append",
            stream,
            reason: "Unavailable",
            mayHaveAppended,
            detail: "another writer was first every time, or the open transaction cannot see what that one appended: " +
              "begin it again"
          })
        })
      )
    })

  const tailOf = FixedStatement.byKey<string, FixedStatement.FixedStatement<TailOptions>>()

  const readPage = yield* Feed.make(client, names, statements)

  return EventStore.makeEncoded({
    append,
    read: (options) =>
      repeat(query(statements.read(options))).pipe(
        Effect.mapBoth({ onFailure: failure("read", options.stream), onSuccess: (rows) => rows.map(toRecord) })
      ),
    readAll: (options) =>
      Effect.mapBoth(readPage(options), { onFailure: failure("readAll"), onSuccess: (rows) => rows.map(toRecord) }),
    version: (stream) => Effect.mapError(version(stream), failure("version", stream)),
    readTail: (stream, { fromVersion, limit }) => {
      const from = fromVersion === 1 ? "beginning" : "later"
      const { params, text } = tailOf(`${limit} ${from}`, () => statements.readTail(limit, from))
      return repeat(executeValues(text, params({ stream, fromVersion }))).pipe(
        Effect.mapBoth({ onFailure: failure("read", stream), onSuccess: (rows) => rows.map(toTailEvent) })
      )
    },
    withSnapshots: (snapshots) => {
      const table = SnapshotTables.get(snapshots)
      if (table === undefined || table.identity !== client.identity) return Option.none()
      const loadOf = FixedStatement.byKey<string, FixedStatement.FixedStatement<LoadOptions>>()
      return Option.some({
        read: (stream, options) => {
          const { params, text } = loadOf(shapeOf(options), () => statements.readWithSnapshot(table.name, options))
          return repeat(executeValues(text, params({ ...options, stream }))).pipe(
            Effect.mapBoth({ onFailure: failure("read", stream), onSuccess: (rows) => split(stream, rows) })
          )
        },
        transaction: (effect) =>
          Effect.mapError(
            client.transaction(effect),
            (error) =>
              error instanceof SqlError ? failure("append", undefined, classify(error).mayHaveHappened)(error) : error
          )
      })
    },
    inTransaction,
    attempt: (effect) => Effect.mapError(swallow(effect), failure("read"))
  })

  function toRecord(row: EventRow): EventStore.EncodedRecord {
    return {
      id: Row.text(row.event_id),
      stream: StreamId.make(Row.text(row.aggregate), Row.text(row.stream_id)),
      version: Row.number(row.version),
      position: statements.position(row),
      type: Row.text(row.type),
      payload: Row.text(row.payload),
      metadata: Row.text(row.metadata),
      time: Row.number(row.time)
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

/** Another writer took the versions between the check and the insert, and the expectation holds all the same. */
class Overtaken extends Data.TaggedError("Overtaken")<{
  /** The version of the stream after that. */
  readonly head: number
  /** In a transaction that sees the database as it was when it began. */
  readonly forGood: boolean
}> {}

const isOvertaken = (error: unknown): error is Overtaken => error instanceof Overtaken

const isPassing = (error: unknown): boolean => isOvertaken(error) && !error.forGood

// whenever one is overtaken another writer got through
const overtakenSchedule = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.union(Schedule.spaced("20 millis")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(200))
)

const toStanding = (stream: StreamId.StreamId, row: StandingRow) => ({
  id: Row.text(row.event_id),
  sameStream: Row.text(row.aggregate) === stream.aggregate && Row.text(row.stream_id) === stream.id,
  version: Row.number(row.version)
})

const toTailEvent = (row: ReadonlyArray<unknown>): EventStore.TailEvent => ({
  version: Row.number(row[0]),
  type: Row.text(row[1]),
  payload: Row.text(row[2]),
  eventId: Row.textOrNull(row[3])
})

const split = (
  stream: StreamId.StreamId,
  rows: ReadonlyArray<ReadonlyArray<unknown>>
): Effect.Effect.Success<ReturnType<EventStore.SnapshotReader>> => {
  const events: Array<EventStore.TailEvent> = []
  let snapshot: Option.Option<Snapshot.EncodedSnapshot> = Option.none()
  let ordered = true
  for (const row of rows) {
    if (row[1] === null) {
      const [eventId, schemaVersion, fingerprint, time] = JSON.parse(Row.text(row[3]))
      const version = Row.number(row[0])
      const state = Row.text(row[2])
      snapshot = Option.some({ stream, version, eventId, schemaVersion, fingerprint, state, time })
    } else {
      const event = toTailEvent(row)
      ordered &&= events.length === 0 || events[events.length - 1].version <= event.version
      events.push(event)
    }
  }
  // the two halves of a union come in no promised order
  if (!ordered) events.sort((a, b) => a.version - b.version)
  return { snapshot, events }
}
