// Bounds the time that the operations on streams wait for a snapshot store in another database: they may hold a
// transaction open meanwhile, for which commands of other streams wait.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { SnapshotStore, SnapshotStoreError } from "../../SnapshotStore.js"
import type * as StreamId from "../../StreamId.js"

const longest = Duration.seconds(5)

export const make = (snapshots: SnapshotStore["Type"]): SnapshotStore["Type"] =>
  SnapshotStore.of({
    ...snapshots,
    get: (stream, options) => bounded("get", stream, () => snapshots.get(stream, options)),
    save: (snapshot) => bounded("save", snapshot.stream, () => snapshots.save(snapshot)),
    delete: (stream, options) => bounded("delete", stream, () => snapshots.delete(stream, options))
  })

const bounded = <A>(
  operation: SnapshotStoreError["operation"],
  { aggregate, id }: StreamId.StreamId,
  run: () => Effect.Effect<A, SnapshotStoreError>
): Effect.Effect<A, SnapshotStoreError> =>
  Effect.timeoutFail(Effect.disconnect(Effect.suspend(run)), {
    duration: longest,
    onTimeout: () =>
      new SnapshotStoreError({
        operation,
        aggregate,
        id,
        reason: "Unavailable",
        detail: `it did not answer within ${Duration.format(longest)}`
      })
  })
