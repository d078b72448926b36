// Keeps snapshots in memory, for the snapshot store in memory.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { EncodedSnapshot } from "../../Snapshot.js"
import * as StreamId from "../../StreamId.js"
import { streamKey } from "../streamKey.js"
import { handedOut } from "./handedOut.js"

interface StateSchema {
  readonly schemaVersion: number
  readonly fingerprint: string
}

/** Makes the driver of a snapshot store in memory. */
export const make = () => {
  const streams = new Map<string, Map<number, EncodedSnapshot>>()
  const rowsOf = (stream: StreamId.StreamId) => streams.get(streamKey(stream)) ?? new Map<number, EncodedSnapshot>()

  return {
    get: (
      stream: StreamId.StreamId,
      options: { readonly schemaVersion: number; readonly migratable?: ReadonlyArray<StateSchema> | undefined }
    ) =>
      Effect.sync(() => {
        const rows = Array.from(rowsOf(stream).values())
        const ofVersion = rows.filter((row) => row.schemaVersion === options.schemaVersion)
        const migratable = rows.filter((row) => options.migratable?.some((schema) => isOf(row, schema)))
        const lower = rows.filter((row) => row.schemaVersion <= options.schemaVersion)
        const found = highest(ofVersion) ?? highest(migratable) ?? highest(lower) ?? highest(rows)
        return Option.map(Option.fromNullable(found), handedOut)
      }),
    save: (snapshot: EncodedSnapshot) =>
      Effect.sync((): "Saved" | "Superseded" => {
        const { aggregate, id } = snapshot.stream
        const rows = rowsOf(snapshot.stream)
        const current = rows.get(snapshot.schemaVersion)
        if (current !== undefined && current.version >= snapshot.version) return "Superseded"
        rows.set(snapshot.schemaVersion, { ...snapshot, stream: StreamId.make(aggregate, id) })
        streams.set(streamKey(snapshot.stream), rows)
        return "Saved"
      }),
    delete: (stream: StreamId.StreamId, { identity, schemaVersion, versionBelow = Number.POSITIVE_INFINITY }: {
      readonly schemaVersion?: number | undefined
      readonly identity?:
        | { readonly version: number; readonly eventId: string; readonly time?: number | undefined }
        | undefined
      readonly versionBelow?: number | undefined
    } = {}) =>
      Effect.sync(() => {
        const rows = rowsOf(stream)
        const deleted = Array.from(rows.values()).filter((row) =>
          (schemaVersion === undefined || row.schemaVersion === schemaVersion) &&
          (identity === undefined || (row.version === identity.version && row.eventId === identity.eventId &&
            (identity.time === undefined || row.time === identity.time))) &&
          row.version < versionBelow
        )
        for (const row of deleted) rows.delete(row.schemaVersion)
        return deleted.length
      }),
    exists: (stream: StreamId.StreamId, options?: { readonly schemaVersion?: number | undefined }) =>
      Effect.sync(() => {
        const rows = rowsOf(stream)
        return options?.schemaVersion === undefined ? rows.size > 0 : rows.has(options.schemaVersion)
      }),
    deleteByType: (
      aggregate: string,
      options?: {
        readonly schemaVersionBelow?: number | undefined
        readonly dryRun?: boolean | undefined
        readonly limit?: number | undefined
      }
    ) =>
      Effect.sync(() => {
        const below = options?.schemaVersionBelow ?? Number.POSITIVE_INFINITY
        const limit = options?.limit ?? Number.POSITIVE_INFINITY
        let count = 0
        for (const rows of streams.values()) {
          for (const { schemaVersion, stream } of Array.from(rows.values())) {
            if (stream.aggregate !== aggregate || schemaVersion >= below) continue
            if (count === limit) return count
            count++
            if (options?.dryRun !== true) rows.delete(schemaVersion)
          }
        }
        return count
      })
  }
}

const isOf = (row: EncodedSnapshot, schema: StateSchema): boolean =>
  row.schemaVersion === schema.schemaVersion && row.fingerprint === schema.fingerprint

const highest = (rows: ReadonlyArray<EncodedSnapshot>): EncodedSnapshot | undefined =>
  rows.reduce<EncodedSnapshot | undefined>(
    (best, row) => best === undefined || row.schemaVersion > best.schemaVersion ? row : best,
    undefined
  )
