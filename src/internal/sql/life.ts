// Deletes events of a stream, in one transaction with the marker that tells it.
import * as Effect from "effect/Effect"
import type { LifeDriver } from "../../EventStore.js"
import { eventStoreError } from "./failure.js"
import * as InlineTransaction from "./inlineTransaction.js"
import type { Services } from "./services.js"

export const make = ({ client, statements }: Services): LifeDriver => ({
  transaction: (stream, effect) => InlineTransaction.run(client, "delete", stream, () => effect),
  remove: (stream, before) =>
    Effect.mapError(
      Effect.asVoid(client.execute(statements.remove(stream, before))),
      eventStoreError("delete", stream)
    )
})
