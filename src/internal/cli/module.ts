// Finds the aggregates that a module of the user's exports.
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import * as Aggregate from "../../Aggregate.js"
import { describe } from "../sql/failure.js"
import { CliError } from "./errors.js"

/** An aggregate of which only the encoded side is known. */
export type Unknown = Aggregate.Aggregate<string, unknown, unknown, unknown, unknown, unknown>

const isAggregate = (value: unknown): value is Unknown => Predicate.hasProperty(value, Aggregate.TypeId)

const hintOf = (file: string): string =>
  /\.[cm]?tsx?$/.test(file) ? ". Compile it to JavaScript, or set NODE_OPTIONS='--import tsx'" : ""

/** The aggregates of the module by name. It fails if there are none. */
export const aggregates = (file: string): Effect.Effect<ReadonlyMap<string, Unknown>, CliError> =>
  Effect.gen(function*() {
    const loaded: unknown = yield* Effect.tryPromise({
      try: () => import(pathToFileURL(path.resolve(file)).href),
      catch: (cause) => new CliError({ detail: `--module ${file} cannot be loaded: ${describe(cause)}${hintOf(file)}` })
    })
    const values = Predicate.isRecord(loaded) ? Object.values(loaded) : []
    // one may be exported under two names
    const found = Arr.dedupe(values.filter(isAggregate))
    if (found.length === 0) {
      return yield* new CliError({
        detail: `--module ${file} exports no aggregate: export what Aggregate.make returns`
      })
    }
    const byName = new Map(found.map((aggregate) => [aggregate.name, aggregate]))
    return byName.size === found.length ? byName : yield* new CliError({
      detail: `--module ${file} exports several aggregates of one name: give a module that exports the one in use`
    })
  })

/** One of them. */
export const aggregate = (file: string, name: string): Effect.Effect<Unknown, CliError> =>
  Effect.flatMap(aggregates(file), (found) => {
    const aggregate = found.get(name)
    return aggregate === undefined
      ? new CliError({ detail: `--module ${file} does not export this aggregate, but ${[...found.keys()].join(", ")}` })
      : Effect.succeed(aggregate)
  })
