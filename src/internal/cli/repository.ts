// A repository for looking, whose ids and states are the stored ones. It takes no snapshots by itself.
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Repository from "../../Repository.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import { CliError } from "./errors.js"
import * as Keys from "./keys.js"
import type { Unknown } from "./module.js"

export const make = (aggregate: Unknown) =>
  Effect.map(
    Effect.mapError(
      Repository.make(aggregate, { snapshots: SnapshotPolicy.manual, snapshotOnLoad: false }),
      // all else of its options is the command line's own
      (error) => error.option.startsWith("EventStore of ") ? Keys.missing(aggregate.name) : error
    ),
    (repository) => ({
      aggregate,
      load: (id: string, at?: number | DateTime.Utc) =>
        Effect.gen(function*() {
          const decoded = yield* idOf(aggregate, id)
          const loaded = yield* at === undefined ? repository.load(decoded) : repository.loadAt(decoded, at)
          return { ...loaded, state: yield* stateOf(aggregate, loaded.state) }
        }),
      /** The state at a version, as the aggregate has it. */
      stateAt: (id: string, version: number) =>
        Effect.flatMap(idOf(aggregate, id), (decoded) =>
          Effect.map(repository.loadAt(decoded, version), ({ state }) => state)),
      verify: (id: string, remove: boolean) =>
        Effect.flatMap(idOf(aggregate, id), (decoded) =>
          repository.verify(decoded, { remove }))
    })
  )

/** A repository, or why there is none: then the other aggregates of the module can be looked at all the same. */
export const open = (aggregate: Unknown) => Effect.either(make(aggregate))

export type Opened = Effect.Effect.Success<ReturnType<typeof open>>

export type Looking = Effect.Effect.Success<ReturnType<typeof make>>

const idOf = (aggregate: Unknown, id: string): Effect.Effect<unknown, CliError> =>
  orFail(aggregate.id.decode(id), `the id does not fit the id schema of ${aggregate.name}`)

const stateOf = (aggregate: Unknown, state: unknown): Effect.Effect<unknown, CliError> =>
  orFail(aggregate.state.encode(state), `the state does not encode by the state schema of ${aggregate.name}`)

const orFail = <A>(either: Either.Either<A, ParseResult.ParseError>, detail: string): Effect.Effect<A, CliError> =>
  Effect.mapError(either, () => new CliError({ detail }))
