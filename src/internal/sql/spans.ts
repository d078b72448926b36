// Makes the spans of the SQL stores, by the conventions of OpenTelemetry for databases.
// A span covers an operation of a store with its waits and its further statements, such as those after a lost race. The
// client makes no span for the statements themselves. Why: docs/decisions/0099-spans.md.
// Costs one step of the fiber if no tracer is configured.
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as StreamId from "../../StreamId.js"
import * as Tracing from "../tracing.js"
import { codeOf } from "./failure.js"
import type { Query } from "./statement.js"

/** Describes an operation of a store, and its result. */
export interface Operation<in A> {
  readonly name: "INSERT" | "SELECT" | "DELETE"
  /** The table. */
  readonly collection: string
  readonly stream?: StreamId.StreamId | undefined
  /** The first statement. The operation may run others after it. */
  readonly query: Query
  readonly attributes?: Tracing.Attributes | undefined
  /** The attributes of the result. */
  readonly result?: ((result: A) => Tracing.Attributes) | undefined
}

/** Makes an operation of a store run in a span, if a tracer is configured. Only then is the operation described. */
export interface Spans {
  <Args extends ReadonlyArray<unknown>, A, E>(
    name: string,
    run: (...args: Args) => Effect.Effect<A, E>,
    describe: (...args: Args) => Operation<A>
  ): (...args: Args) => Effect.Effect<A, E>
}

export const make = (sql: SqlClient.SqlClient): Spans => {
  const database = databaseOf(sql)
  return (name, run, describe) => (...args) =>
    Effect.withFiberRuntime((fiber) => {
      if (!Tracing.isTraced(fiber)) return run(...args)
      const operation = describe(...args)
      const attributes = { ...database, ...attributesOf(operation) }
      return Tracing.inSpan(observed(operation, run(...args)), name, { kind: "client", attributes })
    })
}

const attributesOf = ({ attributes, collection, name, query, stream }: Operation<never>): Tracing.Attributes => ({
  "db.operation.name": name,
  "db.collection.name": collection,
  "db.query.text": query.text,
  ...(stream === undefined ? {} : { "eventsourcing.aggregate": stream.aggregate, "eventsourcing.id": stream.id }),
  ...attributes
})

const observed = <A, E>({ result }: Operation<A>, run: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.tapBoth(run, {
    onFailure: (error) => Tracing.annotate(() => failureOf(error)),
    onSuccess: (value) => result === undefined ? Effect.void : Tracing.annotate(() => result(value))
  })

const failureOf = (error: unknown): Tracing.Attributes => {
  const code = codeOf(error)
  return code === undefined
    ? { "error.type": Tracing.errorTypeOf(error) }
    : { "error.type": code, "db.response.status_code": code }
}

/** The attributes that the driver gives to the spans of its own statements: the system, the database, the server. */
const databaseOf = (sql: SqlClient.SqlClient): Tracing.Attributes => {
  const system = sql.onDialectOrElse({ pg: () => "postgresql", sqlite: () => "sqlite", orElse: () => "other_sql" })
  const given: unknown = Reflect.get(sql`SELECT 1`, "spanAttributes")
  return { "db.system.name": system, ...(Array.isArray(given) ? Object.fromEntries(given.filter(Array.isArray)) : {}) }
}
