import type * as SqlClient from "@effect/sql/SqlClient"
import type { CheckpointStore } from "../../CheckpointStore.js"
import type { EventStore } from "../../EventStore.js"
import type { SnapshotStore } from "../../SnapshotStore.js"
import type { Streams } from "../../Streams.js"

/** What commands have of the database. */
export type Services = EventStore | SnapshotStore | CheckpointStore | Streams | SqlClient.SqlClient
