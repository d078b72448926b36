// Keeps how far the streams of a subscription were handled inline: a row for each stream that is ahead of the checkpoints.
// A claim is one statement in the transaction of the append. It reads the checkpoints and does not lock them.
import * as Effect from "effect/Effect"
import type { InlineClaim, InlinePositions } from "../projection/inlineModel.js"
import type { Key } from "../projection/model.js"
import * as Rows from "./checkpointRows.js"
import { failure, type Services } from "./checkpoints.js"
import * as Row from "./row.js"

export const make = ({ client, statements }: Services): InlinePositions => {
  const { execute, repeat } = client
  return {
    client: client.identity.reserve,
    claim: (key: Key, claim: InlineClaim) =>
      Effect.mapBoth(execute(statements.claim(key, claim)), {
        onFailure: failure("claim", key.name, { isCommitting: false }),
        onSuccess: (rows) => rows.length > 0
      }),
    of: (key, streams) =>
      Effect.mapBoth(repeat(execute(statements.marksOf(key, streams))), {
        onFailure: failure("inline", key.name, { isCommitting: false }),
        onSuccess: (rows) => new Map(rows.map((row) => [Row.text(row.stream), Rows.position(row)]))
      }),
    forget: (key) =>
      Effect.mapBoth(repeat(execute(statements.forget(key))), {
        onFailure: failure("forget", key.name),
        onSuccess: () => undefined
      })
  }
}
