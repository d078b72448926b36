// Deletes and rewrites events of a stream, in one transaction with the marker that tells it. Removes what deletions leave.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EventStoreError, LifeDriver } from "../../EventStore.js"
import * as StreamId from "../../StreamId.js"
import { eventStoreError } from "./failure.js"
import * as InlineTransaction from "./inlineTransaction.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"
import type { Query } from "./statement.js"

/** Executes a statement that changes a stream. */
interface Execute {
  (
    operation: EventStoreError["operation"],
    stream: StreamId.StreamId,
    query: Query
  ): Effect.Effect<ReadonlyArray<Row.Row>, EventStoreError>
}

export const make = (services: Services): LifeDriver => {
  const { client, statements } = services
  const { archive } = statements
  const execute: Execute = (operation, stream, query) =>
    Effect.mapError(client.execute(query), eventStoreError(operation, stream))
  return {
    transaction: (stream, effect) => InlineTransaction.run(client, "delete", stream, () => effect),
    replace: (stream, event) =>
      Effect.flatMap(execute("rewrite", stream, statements.replace(stream, event)), (replaced) =>
        replaced.length > 0
          ? Effect.succeed(true)
          : Effect.map(execute("rewrite", stream, archive.replace(stream, event)), (replaced) => replaced.length > 0)),
    lastRewritten: (stream, after) =>
      Effect.mapBoth(client.repeat(client.execute(statements.lastRewritten(stream, after))), {
        onFailure: eventStoreError("read", stream),
        onSuccess: ([row]) => Row.number(row.version)
      }),
    remove: (stream, before) =>
      Effect.zipRight(
        execute("delete", stream, statements.remove(stream, before)),
        Effect.asVoid(execute("delete", stream, archive.drop(stream, before)))
      ),
    ...archiveOf(services, execute),
    ...tombstonesOf(services, execute)
  }
}

/** The contents of truncated streams. */
const archiveOf = (
  { client, statements: { archive } }: Services,
  execute: Execute
): Pick<LifeDriver, "left" | "empty" | "contents" | "nextArchived" | "oldContents"> => ({
  left: (stream, before) =>
    Effect.mapBoth(client.repeat(client.execute(archive.left(stream, before))), {
      onFailure: eventStoreError("truncate", stream),
      onSuccess: ([row]) => ({ kept: Row.number(row.kept), archived: Row.number(row.archived) })
    }),
  empty: (stream, { archive: isKept, before, time }) =>
    Effect.zipRight(
      execute("truncate", stream, isKept ? archive.keep(stream, { before, time }) : archive.drop(stream, before)),
      Effect.asVoid(execute("truncate", stream, archive.empty(stream, before)))
    ),
  contents: (places, bytes) =>
    Effect.mapBoth(client.repeat(client.execute(archive.contents(places, bytes))), {
      onFailure: eventStoreError("read"),
      onSuccess: (rows) =>
        rows.map(({ metadata, payload, place }) => ({
          place: Row.number(place),
          payload: Row.textOrNull(payload),
          metadata: Row.textOrNull(metadata)
        }))
    }),
  nextArchived: (options) =>
    Effect.mapBoth(client.repeat(client.execute(archive.next(options))), {
      onFailure: eventStoreError("truncate"),
      onSuccess: ([row]) =>
        Option.map(Option.fromNullable(row), (row) => ({
          stream: StreamId.make(options.aggregate, Row.text(row.stream_id)),
          archivedAt: Row.number(row.archived_at)
        }))
    }),
  oldContents: (stream, options) =>
    Effect.mapBoth(client.repeat(client.execute(archive.old(stream, options))), {
      onFailure: eventStoreError("truncate", stream),
      onSuccess: ([row]) => ({
        count: Row.number(row.count),
        upTo: Row.number(row.up_to),
        last: Row.number(row.last)
      })
    })
})

/** What deletions leave. */
const tombstonesOf = (
  { client, statements }: Services,
  execute: Execute
): Pick<LifeDriver, "tombstones" | "clear" | "forget"> => ({
  tombstones: (options) =>
    Effect.mapBoth(client.repeat(client.execute(statements.tombstones.list(options))), {
      onFailure: eventStoreError("delete"),
      onSuccess: (rows) =>
        rows.map((row) => ({
          stream: StreamId.make(Row.text(row.aggregate), Row.text(row.stream_id)),
          version: Row.number(row.version),
          eventId: Row.text(row.event_id),
          position: statements.position(row),
          hasEvents: Row.number(row.has_events) === 1
        }))
    }),
  clear: (tombstone, limit) =>
    Effect.mapBoth(client.repeat(client.execute(statements.tombstones.clear(tombstone, limit))), {
      onFailure: eventStoreError("delete", tombstone.stream),
      onSuccess: (rows) => Row.number(rows[0]?.count ?? rows.length)
    }),
  // the id may be used again afterwards
  forget: (tombstone) =>
    Effect.zipRight(
      execute("delete", tombstone.stream, statements.archive.clear(tombstone)),
      Effect.mapBoth(client.repeat(client.execute(statements.tombstones.forget(tombstone))), {
        onFailure: eventStoreError("delete", tombstone.stream),
        onSuccess: (rows) => rows.length > 0
      })
    )
})
