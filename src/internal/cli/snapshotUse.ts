// Tells which of the stored snapshots of a stream a load uses, and whether it proves equal to a full replay.
import * as Effect from "effect/Effect"
import type { Verification } from "../../Repository.js"
import type { Listed } from "../sql/inspection.js"
import type { Looking } from "./repository.js"

/**
 * - `proved`: a load uses it, and its state is that of a full replay.
 * - `refuted`: a load uses it, and its state differs from that of a full replay.
 * - `refused`: a load that looks at it replays instead.
 * - `other`: a load does not look at it.
 * - `unknown`: the stream cannot be loaded.
 */
export interface Use {
  readonly use: "proved" | "refuted" | "refused" | "other" | "unknown"
  readonly detail: string
}

/** Looks at the snapshots of one stream. It reads the whole stream. */
export const of = (
  looking: Looking,
  snapshots: ReadonlyArray<Listed>
): Effect.Effect<ReadonlyArray<readonly [Listed, Use]>> => {
  const [first] = snapshots
  if (first === undefined) return Effect.succeed([])
  return Effect.match(looking.verify(first.stream.id, false), {
    onFailure: (error) => snapshots.map((snapshot) => [snapshot, unknown(error)]),
    onSuccess: (found) => {
      const chosen = chosenOf(looking, snapshots, found)
      return snapshots.map((snapshot) => [snapshot, snapshot === chosen ? useOf(found) : other])
    }
  })
}

/** The use of a snapshot whose stream cannot be loaded. */
export const unknown = ({ message }: { readonly message: string }): Use => ({ use: "unknown", detail: message })

const other: Use = { use: "other", detail: "" }

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

/** The one that a load takes: see `SnapshotStore.get`. */
const chosenOf = (
  { aggregate }: Looking,
  snapshots: ReadonlyArray<Listed>,
  found: Verification
): Listed | undefined => {
  const own = aggregate.schemaVersion
  const below = snapshots.filter(({ schemaVersion }) => schemaVersion < own)
  const first = snapshots.find(({ schemaVersion }) => schemaVersion === own) ?? below.at(-1) ?? snapshots.at(-1)
  if (found._tag === "NoSnapshot" || first?.version === found.snapshotVersion) return first
  return snapshots.find(({ version }) => version === found.snapshotVersion)
}
