import { SqlClient } from "@effect/sql"
import { Effect } from "effect"
import type { CheckpointStore, StreamId } from "effect-eventsourcing"
import type { CheckpointStoreContract, EventStoreContract } from "effect-eventsourcing/testing"

export const ofStream = ({ aggregate, id }: StreamId.StreamId, sql: SqlClient.SqlClient) =>
  sql.and([sql`aggregate = ${aggregate}`, sql`stream_id = ${id}`])

const change = <A>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, unknown>) =>
  Effect.asVoid(Effect.flatMap(SqlClient.SqlClient, f))

/** What somebody with access to the database may do to its rows. */
export const tamper: EventStoreContract.Capabilities<SqlClient.SqlClient> = {
  remove: (stream, upTo) =>
    change((sql) => sql`DELETE FROM eventsourcing_events WHERE ${ofStream(stream, sql)} AND version <= ${upTo}`),
  corrupt: (stream, version) =>
    change((sql) =>
      sql`UPDATE eventsourcing_events SET payload = '{' WHERE ${ofStream(stream, sql)} AND version = ${version}`
    )
}

/** Ends the time of what a subscription has, as hours without its processes do. */
export const expiry: CheckpointStoreContract.Capabilities<SqlClient.SqlClient> = {
  expire: ({ name, version }: CheckpointStore.Key) =>
    change((sql) => {
      const ofKey = sql.and([sql`name = ${name}`, sql`version = ${version}`])
      return Effect.all([
        sql`UPDATE eventsourcing_checkpoints SET lease_until = 1, hold_until = 1 WHERE ${ofKey}`,
        sql`UPDATE eventsourcing_members SET until = 1 WHERE ${ofKey}`
      ])
    })
}
