import type * as SqlClient from "@effect/sql/SqlClient"
import type { SnapshotStore } from "../../SnapshotStore.js"

/** Where a SQL snapshot store keeps its rows: an event store on the same client reads them together with its events. */
export interface SnapshotTable {
  readonly client: SqlClient.SqlClient
  readonly name: string
}

type Store = SnapshotStore["Type"]

/** A snapshot store that knows its table. A copy of it does not: one with other methods must be asked by them. */
export interface StoreWithTable extends Store {}

export class StoreWithTable {
  readonly #table: SnapshotTable
  constructor(store: Store, table: SnapshotTable) {
    Object.assign(this, store)
    this.#table = table
  }
  static tableOf(store: Store): SnapshotTable | undefined {
    return #table in store ? store.#table : undefined
  }
}
