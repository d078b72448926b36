// Appends events in one statement, which checks the expected version and inserts only if that holds. A statement that
// inserted nothing costs two more: they tell a repeated append, a conflict, a deleted stream and a reused event id apart.
import { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import type * as StreamId from "../../StreamId.js"
import * as EventTime from "../eventTime.js"
import { liveClock } from "../liveClock.js"
import * as Markers from "../markers.js"
import { judge } from "../store/appendVerdict.js"
import * as Overtaking from "../store/overtaking.js"
import * as AppendGroups from "./appendGroups.js"
import type { AppendOptions } from "./dialect.js"
import type * as EventLoop from "./eventLoop.js"
import { classify, eventStoreError } from "./failure.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"

/** Whether appends share statements: never (`alone`), if they have to wait (`grouped`), or always (`forced`). */
export type Groups = "alone" | "grouped" | "forced"

export const make = (
  services: Services,
  { eventLoop, groups }: { readonly groups: Groups; readonly eventLoop: EventLoop.EventLoop["Type"] }
): EventStore.Encoded["append"] => {
  const send = groups === "alone"
    ? AppendGroups.alone(services)
    : AppendGroups.make(services, { forced: groups === "forced", eventLoop })
  return (options) => append(services, send, options)
}

const append = (
  services: Services,
  send: AppendGroups.Send,
  options: AppendOptions
): ReturnType<EventStore.Encoded["append"]> =>
  Effect.suspend(() => {
    const { stream } = options
    const tries: Tries = { mayHaveAppended: false, overtakenAt: undefined }
    const once = appendOnce(services, send, options, tries)
    return once.pipe(
      Effect.catchTag("Overtaken", (error) =>
        error.forGood
          ? Effect.fail(error)
          : Effect.withClock(Effect.retry(once, { schedule: overtakenSchedule, while: isPassing }), liveClock)),
      Effect.mapError((error) => {
        if (error instanceof SqlError) return eventStoreError("append", stream, tries.mayHaveAppended)(error)
        if (error._tag !== "Overtaken") return error
        return new EventStore.EventStoreError({
          operation: "append",
          stream,
          reason: "Unavailable",
          mayHaveAppended: tries.mayHaveAppended,
          detail:
            "another writer was first at every try, or the open transaction cannot see the events of that writer: " +
            "begin it again"
        })
      })
    )
  })

export const version = (services: Services, stream: StreamId.StreamId): Effect.Effect<number, SqlError> =>
  Effect.map(headOf(services, stream), ({ version }) => version)

const headOf = (
  { client, statements }: Services,
  stream: StreamId.StreamId
): Effect.Effect<{ readonly version: number; readonly isDeleted: boolean }, SqlError> =>
  Effect.map(client.repeat(client.execute(statements.head(stream))), ([row]) =>
    row === undefined
      ? { version: 0, isDeleted: false }
      : { version: Row.number(row.version), isDeleted: Row.text(row.type) === Markers.deleted })

interface Tries extends AppendGroups.Tries {
  /**
   * The head of the stream after the last try that violated an index, if the stored events do not explain the
   * violation.
   */
  overtakenAt: number | undefined
}

/** Another writer took the versions between the check and the insert, and the expectation still holds. */
class Overtaken extends Data.TaggedError("Overtaken")<{
  /** The version of the stream after that. */
  readonly head: number
  /** The open transaction sees the database as it was when it began: a retry inside it would fail again. */
  readonly forGood: boolean
}> {}

type Failure =
  | SqlError
  | Overtaken
  | EventStore.VersionConflict
  | EventStore.DuplicateEventId
  | EventStore.StreamDeleted

const appendOnce = (
  services: Services,
  send: AppendGroups.Send,
  options: AppendOptions,
  tries: Tries
): Effect.Effect<EventStore.AppendResult, Failure> => {
  const { client: { attempt }, statements } = services
  const inserted = Effect.tapError(send(options, tries), (error) => Effect.sync(() => AppendGroups.note(error, tries)))
  return attempt(inserted).pipe(
    Effect.flatMap((rows) => {
      const last = statements.appended(rows, options)
      if (last === undefined) return explain(services, options)
      const { time, version } = last
      const position = Option.some(statements.position(last))
      return Effect.succeed({ version, position, time: EventTime.decode(time), duplicate: false })
    }),
    Effect.catchAll((error) =>
      isViolation(error)
        ? Effect.catchTag(explain(services, options), "Overtaken", (overtaken) =>
          Effect.flatMap(isRace(services, error, overtaken, tries), (race) =>
            Effect.fail(race ? overtaken : error)))
        : Effect.fail(error)
    )
  )
}

// The stored events do not explain the violation, so it is a race or a violation of an index that is not ours. Such an
// index is violated at every try, even one on our columns that compares them in another way. After a race the stream
// has grown.
const isRace = (
  { client: { execute, repeat }, statements }: Services,
  error: SqlError,
  { head }: Overtaken,
  tries: Tries
): Effect.Effect<boolean, SqlError> => {
  const again = tries.overtakenAt === head
  tries.overtakenAt = head
  if (again) return Effect.succeed(false)
  const ours = statements.isOurs(classify(error))
  return typeof ours === "boolean"
    ? Effect.succeed(ours)
    : Effect.map(repeat(execute(ours)), (rows) => rows.length > 0)
}

/** Finds out why an append inserted nothing. */
const explain = (services: Services, options: AppendOptions): Effect.Effect<EventStore.AppendResult, Failure> =>
  Effect.gen(function*() {
    const { client: { execute, repeat }, statements } = services
    const { events, expected, stream } = options
    const ids = events.map((event) => event.id)
    const standing = yield* repeat(execute(statements.standing(ids)))
    const { isDeleted, version: actual } = yield* headOf(services, stream)
    const verdict = judge({
      expected,
      head: actual,
      ids,
      standing: standing.map((row) => toStanding(stream, row)),
      isDeleted
    })
    switch (verdict._tag) {
      case "Repeated": {
        const last = standing.find((row) => Row.number(row.version) === verdict.version)
        const found = Option.fromNullable(last)
        return {
          version: verdict.version,
          position: Option.map(found, statements.position),
          time: Option.flatMap(found, ({ time }) => EventTime.decode(statements.millis(time))),
          duplicate: true
        }
      }
      case "Deleted":
        return yield* new EventStore.StreamDeleted({ stream })
      case "Duplicate":
        return yield* new EventStore.DuplicateEventId({ stream, eventId: verdict.id })
      case "Conflict": {
        const { max, min } = ExpectedVersion.bounds(expected)
        return standing.length === 0 && actual >= min && actual <= max
          ? yield* new Overtaken({ head: actual, forGood: yield* seesNothingNew(services) })
          : yield* new EventStore.VersionConflict({ stream, expected, actual })
      }
    }
  })

const seesNothingNew = ({ client, statements: { isolation } }: Services): Effect.Effect<boolean, SqlError> =>
  Effect.flatMap(client.inTransaction, (open) =>
    open && isolation !== undefined
      ? Effect.map(client.repeat(client.execute(isolation)), ([{ level }]) => Row.text(level) !== "read committed")
      : Effect.succeed(false))

const isViolation = (error: unknown): error is SqlError =>
  error instanceof SqlError && classify(error).kind === "UniqueViolation"

const isPassing = (error: unknown): boolean => error instanceof Overtaken && !error.forGood

const overtakenSchedule = Overtaking.schedule(200)

const toStanding = (stream: StreamId.StreamId, row: Row.Row) => ({
  id: Row.text(row.event_id),
  sameStream: Row.text(row.aggregate) === stream.aggregate && Row.text(row.stream_id) === stream.id,
  version: Row.number(row.version)
})
