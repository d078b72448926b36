// Inserts a batch of an import in one statement, which checks the versions of all its streams and inserts only if all
// match.
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import { classify, eventStoreError } from "./failure.js"
import * as Row from "./row.js"
import type { Services } from "./services.js"

export const make = (
  { client: { attempt, execute, executeValues, repeat }, statements }: Services
): EventStore.ImportDriver => {
  const ofImport = statements.import
  const failed = eventStoreError("import")

  const isOurs = (error: SqlError): Effect.Effect<boolean, SqlError> => {
    const failure = classify(error)
    if (failure.kind !== "UniqueViolation") return Effect.succeed(false)
    const ours = statements.isOurs(failure)
    return typeof ours === "boolean"
      ? Effect.succeed(ours)
      : Effect.map(repeat(execute(ours)), (rows) => rows.length > 0)
  }

  return {
    insert: (options) =>
      Effect.suspend(() => {
        let mayHaveInserted = false
        const inserted = Effect.tapError(executeValues(ofImport.insert(options)), (error) =>
          Effect.sync(() => {
            mayHaveInserted ||= classify(error).mayHaveHappened
          }))
        return attempt(inserted).pipe(
          Effect.map((rows) => Option.map(ofImport.inserted(rows), statements.position)),
          Effect.catchAll((error) =>
            Effect.flatMap(isOurs(error), (ours) => ours ? Effect.succeedNone : Effect.fail(error))
          ),
          Effect.mapBoth({
            onFailure: (error) => eventStoreError("import", undefined, mayHaveInserted)(error),
            onSuccess: (position) => ({ position, mayHaveInserted })
          })
        )
      }),
    versions: (streams) =>
      Effect.mapBoth(repeat(execute(ofImport.versions(streams))), {
        onFailure: failed,
        onSuccess: (rows) => rows.map(({ version }) => Row.number(version))
      }),
    eventsAt: (places) =>
      Effect.mapBoth(repeat(execute(ofImport.eventsAt(places))), {
        onFailure: failed,
        onSuccess: (rows) =>
          rows.map(({ event_id, time }) =>
            event_id === null
              ? Option.none()
              : Option.some({ eventId: Row.text(event_id), time: statements.millis(time) })
          )
      })
  }
}
