import type { SqlClient } from "@effect/sql"
import { it } from "@effect/vitest"
import { Layer, type Scope } from "effect"
import { type CheckpointStore, type EventStore, SqlCheckpointStore, SqlStores } from "effect-eventsourcing"
import * as Effect from "effect/Effect"
import { sharedDatabases } from "../utils/backends.js"
import { memory } from "./fixture.js"

/** The stores of one process on a database. */
export const processOn = <E>(client: Layer.Layer<SqlClient.SqlClient, E>) =>
  Layer.fresh(Layer.provideMerge(Layer.merge(SqlStores.layer, SqlCheckpointStore.layer), client))

type Process = Layer.Layer.Success<ReturnType<typeof processOn>>

/** Makes a case that runs on each database, as one process of it. */
export const onBoth = <E>(name: string, body: Effect.Effect<void, E, Process | Scope.Scope>): void => {
  for (const [database, target, client] of sharedDatabases) {
    it.scopedLive(
      `${name} (${database})`,
      () => Effect.flatMap(target, (target) => Effect.provide(body, processOn(client(target)))),
      60_000
    )
  }
}

/** Makes a case that runs in memory too. It needs no database, and the time is that of the machine. */
export const onAll = <E>(
  name: string,
  body: Effect.Effect<void, E, CheckpointStore.CheckpointStore | EventStore.EventStore | Scope.Scope>
): void => {
  it.scopedLive(`${name} (memory)`, () => Effect.provide(body, memory), 60_000)
  onBoth(name, body)
}
