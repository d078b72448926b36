import type * as SqlClient from "@effect/sql/SqlClient"
import type { SnapshotStore } from "../../SnapshotStore.js"

/**
 * Where a SQL snapshot store keeps its rows. A store that wraps another one is not in here: it is asked like any other.
 *
 * @internal
 */
export interface SnapshotTable {
  readonly identity: SqlClient.SqlClient
  readonly name: string
}

const tables = new WeakMap<SnapshotStore["Type"], SnapshotTable>()

/** @internal */
export const register = (store: SnapshotStore["Type"], table: SnapshotTable): SnapshotStore["Type"] => {
  tables.set(store, table)
  return store
}

/** @internal */
export const get = (store: SnapshotStore["Type"]): SnapshotTable | undefined => tables.get(store)
