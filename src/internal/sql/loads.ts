// Reads what a repository folds: the tail of a stream, alone or with the snapshot before it.
// Cost: one statement. A page of long events takes a second one, see pages.ts.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import type * as StreamId from "../../StreamId.js"
import type { EventStatements } from "./dialect.js"
import { eventStoreError } from "./failure.js"
import type { Send } from "./loadGroups.js"
import * as Pages from "./pages.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"
import * as SnapshotRows from "./snapshotRows.js"

export const readTail =
  ({ client: { executeValues, repeat }, statements }: Services): EventStore.Encoded["readTail"] => (stream, options) =>
    Pages.bounded(options.limit, (limits) =>
      Effect.map(
        repeat(executeValues(statements.readTail({ stream, fromVersion: options.fromVersion, ...limits }))),
        (events) => ({ events })
      )).pipe(
        Effect.mapBoth({
          onFailure: eventStoreError("read", stream),
          onSuccess: (page) => toTail(statements, page)
        })
      )

export const readWithSnapshot =
  ({ client: { repeat }, statements }: Services, send: Send): EventStore.SnapshotReader => (stream, options) =>
    Pages.bounded(options.limit, (limits) => Effect.map(repeat(send({ ...options, ...limits, stream })), split)).pipe(
      Effect.mapBoth({
        onFailure: eventStoreError("read", stream),
        onSuccess: (page) => ({
          snapshot: Option.map(page.snapshot, (row) => toSnapshot(stream, row)),
          events: toTail(statements, page)
        })
      })
    )

// a fold needs the time of the last event alone, and to read all times costs a part of the fold
const toTail = (
  { millis }: EventStatements,
  { continued, events }: Pages.Page
): ReadonlyArray<EventStore.TailEvent> => {
  const last = events.length - 1
  return events.map((row, index) => {
    const time = index === 0 || index === last ? row[4] : null
    const event = {
      version: Row.number(row[0]),
      type: Row.text(row[1]),
      payload: Row.text(row[2]),
      eventId: Row.textOrNull(row[3]),
      time: time === null ? null : millis(time)
    }
    return continued && index === last ? { ...event, continued } : event
  })
}

const split = (
  rows: ReadonlyArray<Pages.EventRow>
): { readonly snapshot: Option.Option<Pages.EventRow>; readonly events: ReadonlyArray<Pages.EventRow> } => {
  const events: Array<Pages.EventRow> = []
  let snapshot: Option.Option<Pages.EventRow> = Option.none()
  let ordered = true
  for (const row of rows) {
    if (row[1] === null) {
      snapshot = Option.some(row)
    } else {
      ordered &&= events.length === 0 || Row.number(events[events.length - 1][0]) <= Row.number(row[0])
      events.push(row)
    }
  }
  // the two halves of a union come in no promised order
  if (!ordered) events.sort((a, b) => Row.number(a[0]) - Row.number(b[0]))
  return { snapshot, events }
}

const toSnapshot = (
  stream: StreamId.StreamId,
  [version, , state, proof]: Pages.EventRow
): Snapshot.EncodedSnapshot => {
  const [event_id, schema_version, fingerprint, time] = JSON.parse(Row.text(proof))
  return SnapshotRows.decode(stream, { version, state, event_id, schema_version, fingerprint, time })
}
