// Tells which of the stored snapshots of a stream a load uses, and whether it proves equal to a full replay.
import * as Effect from "effect/Effect"
import type { Verification } from "../../Repository.js"
import type { Listed } from "../sql/inspection.js"
import type { Looking } from "./repository.js"

/**
 * - `proved`: a load uses it, and its state is that of a full replay.
 * - `refuted`: a load uses it, and its state differs from that of a full replay.
 * - `only`: a load uses it, and there is no full replay to compare with, because the beginning of the stream was removed.
 * - `refused`: a load that looks at it replays instead.
 * - `other`: a load does not look at it.
 * - `unknown`: the stream cannot be loaded.
 */
export interface Use {
  readonly use: "proved" | "refuted" | "only" | "refused" | "other" | "unknown"
  readonly detail: string
}

/** Looks at the snapshots of one stream. It reads the whole stream. */
export const of = (
  looking: Looking,
  snapshots: ReadonlyArray<Listed>
): Effect.Effect<ReadonlyArray<readonly [Listed, Use]>> => {
  const [first] = snapshots
  if (first === undefined) return Effect.succeed([])
  const { id } = first.stream
  const usesOf = (chosen: Listed | undefined, use: Use) =>
    snapshots.map((snapshot) => [snapshot, snapshot === chosen ? use : other] as const)
  return looking.verify(id, false).pipe(
    Effect.map((found) =>
      usesOf(
        found._tag === "NoSnapshot" ? firstOf(looking, snapshots) : takenAt(looking, snapshots, found.snapshotVersion),
        useOf(found)
      )
    ),
    Effect.catchTag("HistoryGap", (gap) =>
      gap.removed === true
        ? Effect.map(
          looking.load(id),
          ({ snapshotVersion }) => usesOf(takenAt(looking, snapshots, snapshotVersion), only)
        )
        : Effect.fail(gap)),
    Effect.catchAll((error) =>
      Effect.succeed(snapshots.map((snapshot): readonly [Listed, Use] => [snapshot, unknown(error)]))
    )
  )
}

/** The use of a snapshot whose stream cannot be loaded. */
export const unknown = ({ message }: { readonly message: string }): Use => ({ use: "unknown", detail: message })

const other: Use = { use: "other", detail: "" }

const only: Use = {
  use: "only",
  detail:
    "it is the only source of the state, and no replay can be compared with it: the beginning of the stream was removed"
}

const useOf = (found: Verification): Use => {
  switch (found._tag) {
    case "Verified":
      return { use: "proved", detail: "" }
    case "Refuted":
      return { use: "refuted", detail: `at ${found.differences.map(({ path }) => path).join(", ")}` }
    case "NoSnapshot": {
      const { snapshotOutcome: outcome } = found
      return { use: "refused", detail: "message" in outcome ? `${outcome._tag}: ${outcome.message}` : outcome._tag }
    }
  }
}

/** Whether a load replays because a person was erased, as it should. */
export const isErased = ({ detail, use }: Use): boolean => use === "refused" && detail.startsWith("SubjectErased: ")

/** The one that a load looks at: see `SnapshotStore.get`. */
const firstOf = ({ aggregate }: Looking, snapshots: ReadonlyArray<Listed>): Listed | undefined => {
  const own = aggregate.schemaVersion
  const below = snapshots.filter(({ schemaVersion }) => schemaVersion < own)
  return snapshots.find(({ schemaVersion }) => schemaVersion === own) ?? below.at(-1) ?? snapshots.at(-1)
}

/** The one that a load has taken. */
const takenAt = (looking: Looking, snapshots: ReadonlyArray<Listed>, taken: number): Listed | undefined => {
  const first = firstOf(looking, snapshots)
  return first?.version === taken ? first : snapshots.find(({ version }) => version === taken)
}
