// Checks the options of a page of the feed and fills in the defaults. Each option is read once.
import * as Schema from "effect/Schema"
import * as Event from "../../Event.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { unknownKey } from "../options.js"
import { keyProblem, quote } from "../text.js"
import * as Input from "./eventInput.js"
import type { EncodedPageOptions, ExcludedTypes, FeedFilter, Partition } from "./feedModel.js"
import * as Tenant from "./tenant.js"

const defaultLimit = 1_000

const isPosition = Schema.is(Position.Position)

// the databases count in 64 bits
const maxPart = 2n ** 63n - 1n

export const noFilter = {
  aggregates: undefined,
  types: undefined,
  excludedTypes: undefined,
  partition: undefined,
  tenant: undefined
}

/** The options of a page, or a problem. */
export const pageInput = <Limit extends "limit" | "pageSize">(
  operation: string,
  limitName: Limit,
  options: (FeedFilter & { readonly [name in Limit]?: number | undefined }) | undefined
): EncodedPageOptions | string => {
  const wrong = unknownKey(`the options of ${operation}`, options, [
    "after",
    "aggregates",
    "types",
    "excludedTypes",
    "partition",
    "tenant",
    limitName
  ])
  if (wrong !== undefined) return wrong
  const { after = Position.start, aggregates, excludedTypes, partition, tenant, types } = options ?? {}
  const given = options?.[limitName]
  const limit = given === undefined ? defaultLimit : given
  const wantedAggregates = keysOf("aggregates", aggregates, StreamId.maxAggregateBytes)
  if (typeof wantedAggregates === "string") return wantedAggregates
  const wantedTypes = keysOf("types", types, Event.maxTypeBytes)
  if (typeof wantedTypes === "string") return wantedTypes
  const excluded = excludedOf(excludedTypes, wantedAggregates)
  if (typeof excluded === "string") return excluded
  const wantedPartition = partitionOf(partition)
  if (typeof wantedPartition === "string") return wantedPartition
  const wrongTenant = tenant === undefined ? undefined : Tenant.problem(tenant)
  if (wrongTenant !== undefined) return `tenant ${wrongTenant}`
  return Input.countProblem({ [limitName]: limit }) ?? afterProblem(after) ?? {
    after,
    aggregates: wantedAggregates,
    types: wantedTypes,
    excludedTypes: excluded,
    partition: wantedPartition,
    tenant,
    limit
  }
}

/** What is wrong with a position, if it cannot be one of a store. */
export const afterProblem = (after: Position.Position): string | undefined =>
  isPosition(after) && Object.values(Position.toParts(after)).every((part) => BigInt(part) <= maxPart)
    ? undefined
    : `after is ${quote(after)}; it must be a position of this store`

/** The different elements of a list, or a problem. */
const keysOf = (
  name: string,
  list: ReadonlyArray<string> | undefined,
  maxBytes: number
): ReadonlyArray<string> | string | undefined => {
  if (list === undefined) return undefined
  if (!Array.isArray(list)) return `${name} is ${quote(list)}; it must be an array of strings`
  const keys = new Set<string>()
  for (const key of list) {
    const problem = keyProblem(key, maxBytes)
    if (problem !== undefined) return `one of ${name} ${problem}`
    keys.add(key)
  }
  return Array.from(keys)
}

/** The excluded types of the wanted aggregates, each aggregate once, or a problem. `undefined` if no type is left. */
const excludedOf = (
  list: ReadonlyArray<ExcludedTypes> | undefined,
  aggregates: ReadonlyArray<string> | undefined
): ReadonlyArray<ExcludedTypes> | string | undefined => {
  if (list === undefined) return undefined
  const expected = "it must be an array of records with aggregate and types"
  if (!Array.isArray(list)) return `excludedTypes is ${quote(list)}; ${expected}`
  const excluded = new Map<string, Set<string>>()
  for (const element of list) {
    const wrong = unknownKey("the fields of excludedTypes", element, ["aggregate", "types"])
    if (wrong !== undefined) return wrong
    const { aggregate, types }: ExcludedTypes = element
    const problem = keyProblem(aggregate, StreamId.maxAggregateBytes)
    if (problem !== undefined) return `one aggregate of excludedTypes ${problem}`
    const keys = keysOf("types of excludedTypes", types, Event.maxTypeBytes)
    if (keys === undefined) return "the types of excludedTypes are undefined; they must be an array of strings"
    if (typeof keys === "string") return keys
    if (keys.length === 0 || aggregates?.includes(aggregate) === false) continue
    const known = excluded.get(aggregate) ?? new Set<string>()
    for (const key of keys) known.add(key)
    excluded.set(aggregate, known)
  }
  return excluded.size === 0
    ? undefined
    : Array.from(excluded, ([aggregate, types]) => ({ aggregate, types: Array.from(types) }))
}

/** The partition, or a problem. A single partition holds all streams, so their ids need not be hashed. */
const partitionOf = (partition: Partition | undefined): Partition | string | undefined => {
  if (partition === undefined) return undefined
  const wrong = unknownKey("the fields of partition", partition, ["index", "of"])
  if (wrong !== undefined) return wrong
  const { index, of } = partition
  return Input.countProblem({ "the number of partitions": of }) ??
    (Number.isSafeInteger(index) && index >= 0 && index < of
      ? (of === 1 ? undefined : { index, of })
      : `index of partition is ${quote(index)}; it must be a whole number from 0 to ${of - 1}`)
}
