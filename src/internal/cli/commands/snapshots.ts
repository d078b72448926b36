import * as Args from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Inspection from "../../sql/inspection.js"
import * as Command from "../command.js"
import * as Module from "../module.js"
import * as Options from "../options.js"
import * as Output from "../output.js"
import * as Repository from "../repository.js"
import * as SnapshotUse from "../snapshotUse.js"

export const snapshots = CliCommand.make(
  "snapshots",
  {
    ...Options.shared,
    ...Options.keys,
    stream: Options.stream.pipe(Args.optional),
    aggregate: CliOptions.text("aggregate").pipe(
      CliOptions.withDescription("Only those of this aggregate"),
      CliOptions.optional
    ),
    after: CliOptions.text("after").pipe(
      CliOptions.withDescription("The stream after which the list begins: Account/a-1"),
      CliOptions.optional
    ),
    module: Options.module.pipe(CliOptions.optional),
    limit: Options.limit(100, "The snapshots of how many streams to print")
  },
  Command.opening(({ after, aggregate, json, limit, module, prefix, stream }) =>
    Effect.scoped(Effect.gen(function*() {
      yield* Options.checkLimit(limit)
      const chosen = Option.isNone(stream) ? undefined : yield* Options.streamOf(stream.value)
      const found = yield* Inspection.snapshots({
        prefix,
        aggregate: chosen?.aggregate ?? Option.getOrUndefined(aggregate),
        id: chosen?.id,
        after: Option.isNone(after) ? undefined : yield* Options.streamOf(after.value, "--after"),
        limit
      })
      const rows = Option.isNone(module)
        ? found.map((snapshot) => rowOf(json, snapshot))
        : yield* withUses(json, found, yield* Module.aggregates(module.value))
      yield* Output.rows(json, rows, "no snapshots")
      if (Arr.dedupe(found.map((snapshot) => Options.streamText(snapshot.stream))).length === limit && !json) {
        yield* Output.hint("There may be more: give --after the last stream.")
      }
    }))
  )
).pipe(
  CliCommand.withDescription(
    "Lists snapshots in the order of their streams. With --module it tells which of them a load uses, and whether " +
      "their state is that of a full replay."
  )
)

const rowOf = (
  isJson: boolean,
  { bytes, fingerprint, schemaVersion, stream, time, version }: Inspection.Listed
): Output.Row => ({
  stream: isJson ? stream : Options.streamText(stream),
  version,
  schemaVersion,
  fingerprint,
  bytes,
  time: Option.map(DateTime.make(time), DateTime.formatIso)
})

const withUses = (
  isJson: boolean,
  found: ReadonlyArray<Inspection.Listed>,
  aggregates: ReadonlyMap<string, Module.Unknown>
) =>
  Effect.gen(function*() {
    const looking = new Map<string, Repository.Opened>()
    const streams = Arr.groupBy(found, ({ stream }) => Options.streamText(stream))
    const rows = yield* Effect.forEach(Object.values(streams), (ofStream) =>
      Effect.gen(function*() {
        const name = ofStream[0].stream.aggregate
        const aggregate = aggregates.get(name)
        if (aggregate === undefined) {
          return ofStream.map((snapshot) => ({ ...rowOf(isJson, snapshot), use: "", detail: "not in the --module" }))
        }
        const repository = looking.get(name) ?? (yield* Repository.open(aggregate))
        looking.set(name, repository)
        if (Either.isLeft(repository)) {
          return ofStream.map((snapshot) => ({ ...rowOf(isJson, snapshot), ...SnapshotUse.unknown(repository.left) }))
        }
        const uses = yield* SnapshotUse.of(repository.right, ofStream)
        return uses.map(([snapshot, use]) => ({ ...rowOf(isJson, snapshot), ...use }))
      }))
    return rows.flat()
  })
