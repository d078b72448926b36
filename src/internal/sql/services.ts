import type { StoreClient } from "./client.js"
import type { EventStatements } from "./dialect.js"

/** The client and the statements of an event store. */
export interface Services {
  readonly client: StoreClient
  readonly statements: EventStatements
}
