import { EventStoreContract, SnapshotStoreContract } from "effect-eventsourcing/testing"
import { afterAll, describe, it } from "vitest"
import { backends } from "./utils/backends.js"

for (const [name, layer] of backends) {
  EventStoreContract.suite({ afterAll, describe, it }, name, layer)
  SnapshotStoreContract.suite({ afterAll, describe, it }, name, layer)
}
