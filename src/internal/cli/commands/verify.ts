import * as Args from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { EventStore } from "../../../EventStore.js"
import type * as StreamId from "../../../StreamId.js"
import * as Command from "../command.js"
import { CliError, NotInOrder } from "../errors.js"
import * as Module from "../module.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as Progress from "../progress.js"
import * as Repository from "../repository.js"

export const verify = CliCommand.make(
  "verify",
  {
    ...Options.shared,
    ...Options.keys,
    stream: Options.stream.pipe(Args.optional),
    module: Options.module,
    sample: CliOptions.float("sample").pipe(
      CliOptions.withDescription("Which part of the streams: above 0, and at most 1. Default: 1"),
      CliOptions.withDefault(1)
    ),
    remove: CliOptions.boolean("remove").pipe(CliOptions.withDescription("Removes snapshots that differ"))
  },
  Command.opening(({ json, module, remove, sample, stream }) =>
    Effect.scoped(Effect.gen(function*() {
      if (!(sample > 0 && sample <= 1)) return yield* new CliError({ detail: "--sample is above 0 and at most 1" })
      const all = Option.isSome(stream) ? yield* one(module, stream.value) : yield* every(module, sample)
      const progress = yield* Progress.make("verified")
      const counts = { verified: 0, noSnapshot: 0, removed: 0, deleted: 0, refuted: 0, failed: 0 }
      yield* Stream.runForEach(all, (target) =>
        Effect.gen(function*() {
          const checked = yield* check(target, remove)
          counts[checked.outcome]++
          if (checked.outcome === "refuted" || checked.outcome === "failed") yield* Output.line(json, checked)
          yield* progress.tick
        }))
      yield* progress.end
      yield* Output.record(json, counts)
      if (counts.refuted + counts.failed > 0) {
        return yield* new NotInOrder({
          detail: `${counts.refuted} snapshots differ from a replay, and ${counts.failed} streams could not be verified`
        })
      }
    })), ({ remove }) => remove)
).pipe(
  CliCommand.withDescription(
    "Compares the state by snapshot with that of a full replay, for one stream, or for all streams of the " +
      "module's aggregates. Fails if one of them differs, or cannot be read. Streams that were deleted, or whose " +
      "beginning a truncation removed, are counted and are no failure."
  )
)

/** A stream, and the repository that verifies it, or why there is none. */
interface Target {
  readonly stream: StreamId.StreamId
  readonly repository: Repository.Opened
}

const one = (module: string, text: string) =>
  Effect.gen(function*() {
    const stream = yield* Options.streamOf(text)
    const repository = yield* Repository.make(yield* Module.aggregate(module, stream.aggregate))
    const { version } = yield* EventStore
    // a mistyped id would verify like a stream without a snapshot
    if ((yield* version(stream)) === 0) {
      return yield* new CliError({ detail: `there is no stream ${text}: check the name of the aggregate and the id` })
    }
    const target: Target = { stream, repository: Either.right(repository) }
    return Stream.make(target)
  })

const every = (module: string, sample: number) =>
  Effect.map(Module.aggregates(module), (aggregates) =>
    Stream.fromIterable(aggregates.values()).pipe(
      Stream.mapEffect((aggregate) =>
        Effect.map(Repository.open(aggregate), (repository) => ({ name: aggregate.name, repository }))
      ),
      Stream.flatMap(streamsOf),
      Stream.filterEffect(() =>
        sample === 1 ? Effect.succeed(true) : Effect.map(Random.next, (drawn) => drawn < sample)
      )
    ))

const streamsOf = ({ name, repository }: { readonly name: string; readonly repository: Repository.Opened }) =>
  Stream.paginateChunkEffect(undefined, (after: string | undefined) =>
    Effect.gen(function*() {
      const store = yield* EventStore
      const found = yield* store.streams({ aggregate: name, after, limit })
      const targets = found.map(({ id }): Target => ({ stream: { aggregate: name, id }, repository }))
      const next = found.length < limit ? Option.none() : Option.some(found.at(-1)?.id)
      return [Chunk.fromIterable(targets), next]
    }))

const limit = 500

const check = ({ repository, stream }: Target, remove: boolean) =>
  Effect.flatMap(repository, (repository) => checkBy(repository, stream, remove)).pipe(
    Effect.catchAll((error) =>
      Effect.succeed({ outcome: "failed", stream: Options.streamText(stream), detail: error.message } as const)
    )
  )

const checkBy = (repository: Repository.Looking, stream: StreamId.StreamId, remove: boolean) =>
  repository.verify(stream.id, remove).pipe(
    Effect.map((found) =>
      found._tag === "Refuted"
        ? { outcome: "refuted", stream: Options.streamText(stream), detail: found.differences } as const
        : { outcome: found._tag === "Verified" ? "verified" : "noSnapshot" } as const
    ),
    Effect.catchTags({
      StreamDeleted: () => Effect.succeed({ outcome: "deleted" } as const),
      // without its first events it has no replay to compare with, but a load has to succeed
      HistoryGap: (gap) =>
        gap.removed === true
          ? Effect.as(repository.load(stream.id), { outcome: "removed" } as const)
          : Effect.fail(gap)
    })
  )
