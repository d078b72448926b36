// Deletes and rewrites events of a stream, in one transaction with the marker that tells it.
import * as Effect from "effect/Effect"
import type { LifeDriver } from "../../EventStore.js"
import { eventStoreError } from "./failure.js"
import * as InlineTransaction from "./inlineTransaction.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"

export const make = ({ client, statements }: Services): LifeDriver => ({
  transaction: (stream, effect) => InlineTransaction.run(client, "delete", stream, () => effect),
  replace: (stream, event) =>
    Effect.mapBoth(client.executeValues(statements.replace(stream, event)), {
      onFailure: eventStoreError("rewrite", stream),
      onSuccess: (rows) => rows.length > 0
    }),
  lastRewritten: (stream, after) =>
    Effect.mapBoth(client.repeat(client.execute(statements.lastRewritten(stream, after))), {
      onFailure: eventStoreError("read", stream),
      onSuccess: ([row]) => Row.number(row.version)
    }),
  remove: (stream, before) =>
    Effect.mapError(
      Effect.asVoid(client.execute(statements.remove(stream, before))),
      eventStoreError("delete", stream)
    )
})
