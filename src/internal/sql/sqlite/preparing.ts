// The driver keeps the failure of a text that it could not prepare for ten minutes. A table that is made meanwhile would stay
// missing for this process, so such a text is compiled once more.
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/** Executes statements of a connection, and compiles those afresh that could not be prepared. */
export const execute =
  (connection: Connection.Connection): Connection.Connection["execute"] => (text, params, transform) =>
    Effect.catchAll(
      connection.execute(text, params, transform),
      (error) => isUnprepared(error) ? afresh(connection, error, text, params, transform) : Effect.fail(error)
    )

const isUnprepared = ({ message }: SqlError): boolean => message.startsWith("Failed to prepare")

/** Runs a text that the driver does not keep. The driver throws if it does not compile. */
const afresh = (
  connection: Connection.Connection,
  error: SqlError,
  ...args: Parameters<Connection.Connection["executeUnprepared"]>
): ReturnType<Connection.Connection["execute"]> =>
  Effect.suspend(() => {
    try {
      return connection.executeUnprepared(...args)
    } catch {
      return Effect.fail(error)
    }
  })
