// Checks the input of a checkpoint store, before a backend has it. A problem is a text, without the values of the input.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Event from "../../Event.js"
import * as Position from "../../Position.js"
import { maxTime, maxVersion } from "../constants.js"
import { isRecord } from "../options.js"
import { cut, keyProblem, storable, unreadable } from "../text.js"
import { maxNameBytes, maxPartitions, maxReason } from "./limits.js"
import type { AdvanceOptions, Key, Lease, ParkedEvent, Registration, Stopped } from "./model.js"
import { CheckpointStoreError } from "./storeErrors.js"

const maxStreamBytes = 2_300
const maxDefinitionBytes = 1_000_000

/** The first problem, or `undefined`. */
type Problem = string | undefined

/** Runs an operation unless its input has a problem. */
export const guard = <A, E, R>(
  operation: string,
  nameOf: () => unknown,
  problem: () => Problem,
  run: () => Effect.Effect<A, E, R>
): Effect.Effect<A, E | CheckpointStoreError, R> =>
  Effect.suspend((): Effect.Effect<A, E | CheckpointStoreError, R> => {
    let wrong: Problem
    let cause: unknown
    let name: unknown
    try {
      wrong = problem()
      if (wrong !== undefined) name = nameOf()
    } catch (thrown) {
      wrong = unreadable
      cause = thrown
    }
    if (wrong === undefined) return run()
    return new CheckpointStoreError({
      operation,
      ...(typeof name === "string" ? { subscription: cut(name, maxNameBytes) } : {}),
      reason: "InvalidInput",
      mayHaveHappened: false,
      detail: wrong,
      ...(cause === undefined ? {} : { cause })
    })
  })

const whole = (what: string, value: unknown, min: number, max: number): Problem =>
  Number.isInteger(value) && Number(value) >= min && Number(value) <= max
    ? undefined
    : `${what} is not a whole number from ${min} to ${max}`

const textOf = (what: string, value: unknown, maxBytes: number): Problem => {
  const problem = keyProblem(value, maxBytes)
  return problem === undefined ? undefined : `${what} ${problem}`
}

const isPosition = Schema.is(Position.Position)

export const position = (what: string, value: unknown): Problem =>
  isPosition(value) ? undefined : `${what} is not a position that an event store gave`

export const key = (key: Key): Problem =>
  !isRecord(key)
    ? "the key is not a record with name and version"
    : textOf("the name", key.name, maxNameBytes) ?? whole("the version", key.version, 1, maxVersion)

export const keys = (keys: ReadonlyArray<Key>): Problem => all("the keys", keys, key)

const all = <A>(what: string, values: ReadonlyArray<A>, problem: (value: A) => Problem): Problem => {
  if (!Array.isArray(values)) return `${what} are not an array`
  for (const value of values) {
    const found = problem(value)
    if (found !== undefined) return found
  }
  return undefined
}

export const registration = (registration: Registration): Problem => {
  const wrong = key(registration)
  if (wrong !== undefined) return wrong
  const { definition, from, kind, partitions } = registration
  return (["Projection", "Subscription"].includes(kind) ? undefined : "the kind is not Projection or Subscription") ??
    (definition === "" ? undefined : textOf("the definition", definition, maxDefinitionBytes)) ??
    whole("the number of partitions", partitions, 1, maxPartitions) ??
    position("from", from)
}

export const owner = (owner: string): Problem => textOf("the owner", owner, maxNameBytes)

export const ttl = (ttl: number): Problem =>
  typeof ttl === "number" && ttl > 0 && ttl <= maxVersion
    ? undefined
    : `ttl is not a number of milliseconds above 0, of at most ${maxVersion}`

const partition = ({ index, of }: { readonly index: number; readonly of: number }): Problem =>
  whole("the number of partitions", of, 1, maxPartitions) ?? whole("the index of the partition", index, 0, of - 1)

export const member = (member: { readonly owner: string; readonly ttl: number }): Problem =>
  !isRecord(member) ? "the options are not a record" : owner(member.owner) ?? ttl(member.ttl)

export const acquisition = (
  options: { readonly owner: string; readonly ttl: number; readonly index: number; readonly of: number }
): Problem => member(options) ?? partition(options)

export const lease = (lease: Lease): Problem =>
  key(lease) ?? partition(lease) ?? owner(lease.owner) ??
    whole("the epoch", lease.epoch, 0, Number.MAX_SAFE_INTEGER) ??
    position("the position of the lease", lease.position)

export const advance = (lease: Lease, options: AdvanceOptions): Problem => {
  if (!isRecord(options)) return "the options are not a record"
  const { handled, streams, to } = options
  return position("to", to) ??
    (Position.Order(to, lease.position) < 0 ? "to is before the position of the lease" : undefined) ??
    whole("the number of events handled", handled, 0, Number.MAX_SAFE_INTEGER) ??
    ttl(options.ttl) ??
    all("the streams", streams, stream)
}

const stream = (stream: string): Problem => textOf("the stream", stream, maxStreamBytes)

const reasonAndTime = ({ reason, time }: { readonly reason: string; readonly time: number }): Problem =>
  (typeof reason === "string" ? undefined : "the reason is not text") ?? whole("the time", time, -maxTime, maxTime)

export const stopped = (stopped: Stopped): Problem =>
  (isRecord(stopped) && Option.isOption(stopped.position) ? undefined : "the reason to stop is not a record") ??
    (Option.isSome(stopped.position) ? position("the position", stopped.position.value) : undefined) ??
    reasonAndTime(stopped)

export const events = (events: ReadonlyArray<ParkedEvent>): Problem => all("the events", events, event)

const event = (event: ParkedEvent): Problem =>
  (isRecord(event) ? undefined : "an event is not a record") ??
    position("the position of an event", event.position) ??
    textOf("the id of an event", event.eventId, Event.maxIdBytes) ??
    stream(event.stream) ??
    (["Poison", "Following"].includes(event.kind) ? undefined : "the kind is not Poison or Following") ??
    reasonAndTime(event)

export const positions = (positions: ReadonlyArray<Position.Position>): Problem =>
  all("the positions", positions, (value) => position("one of the positions", value))

export const removal = (options: { readonly active: boolean }): Problem =>
  !isRecord(options)
    ? "the options are not a record"
    : typeof options.active === "boolean"
    ? undefined
    : "active is not true or false"

export const parked = (
  options: {
    readonly after: Position.Position
    readonly limit: number
    readonly stream?: string | undefined
  }
): Problem =>
  (isRecord(options) ? undefined : "the options are not a record") ??
    position("after", options.after) ??
    whole("the limit", options.limit, 1, maxVersion) ??
    (options.stream === undefined ? undefined : stream(options.stream))

/** A reason as every store can keep it: not too long, and without what a text of PostgreSQL does not hold. */
export const readable = <A extends { readonly reason: string }>(value: A): A => ({
  ...value,
  reason: storable(cut(value.reason, maxReason))
})
