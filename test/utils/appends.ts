// many fibers append to hot and cold streams, and every append must have its own result
import { Chunk, Effect, Either, Stream } from "effect"
import { EventStore, ExpectedVersion } from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import { stream } from "../fixtures/Account.js"

/** An append, and its result. */
export interface Outcome {
  readonly stream: string
  readonly ids: ReadonlyArray<string>
  /** The version that the append expected, if any. */
  readonly expected: number | undefined
  readonly result:
    | { readonly _tag: "Ok"; readonly version: number }
    | { readonly _tag: "Conflict"; readonly actual: number }
    /** The store says that it did not append, or that it may have appended. */
    | { readonly _tag: "No" | "Maybe"; readonly error: string }
}

export interface Work {
  /** Names the events: no other work has it. */
  readonly name: string
  readonly fibers: number
  /** How many appends each fiber makes. */
  readonly appends: number
  readonly onOutcome?: ((outcome: Outcome) => void) | undefined
}

export const streams = Array.from({ length: 12 }, (_, n) => `s-${n}`)

/** Appends with all fibers at once. Half of the appends go to two streams, and half expect a version. */
export const work = (
  store: EventStore.EventStore["Type"],
  { appends, fibers, name, onOutcome }: Work
): Effect.Effect<ReadonlyArray<Outcome>> =>
  Effect.suspend(() => {
    const random = new PCGRandom(fibers)
    const below = (n: number) => Math.floor(random.number() * n)
    const heads = new Map<string, number>()
    const outcomes: Array<Outcome> = []
    let made = 0
    const once = Effect.suspend(() => {
      const chosen = streams[below(2) === 0 ? below(2) : below(streams.length)]
      const append = ++made
      const ids = Array.from({ length: 1 + below(2) }, (_, n) => `${name}.${append}#${n}`)
      const expected = below(2) === 0 ? heads.get(chosen) ?? 0 : undefined
      return Effect.map(
        Effect.either(store.append(
          stream(chosen),
          ids.map((id) => ({ id, type: "Deposited", payload: { _tag: "Deposited", amount: 1 } })),
          { expectedVersion: expected === undefined ? ExpectedVersion.any : ExpectedVersion.exact(expected) }
        )),
        (result) => {
          const outcome: Outcome = { stream: chosen, ids, expected, result: told(result) }
          if (outcome.result._tag === "Ok") heads.set(chosen, outcome.result.version)
          if (outcome.result._tag === "Conflict") heads.set(chosen, outcome.result.actual)
          outcomes.push(outcome)
          onOutcome?.(outcome)
        }
      )
    })
    const fiber = Effect.replicateEffect(once, appends, { discard: true })
    return Effect.as(Effect.replicateEffect(fiber, fibers, { concurrency: "unbounded", discard: true }), outcomes)
  })

const told = (
  result: Either.Either<
    EventStore.AppendResult,
    Effect.Effect.Error<ReturnType<EventStore.EventStore["Type"]["append"]>>
  >
): Outcome["result"] => {
  if (Either.isRight(result)) return { _tag: "Ok", version: result.right.version }
  const error = result.left
  if (error._tag === "VersionConflict") return { _tag: "Conflict", actual: error.actual }
  return error._tag === "EventStoreError" && error.mayHaveAppended
    ? { _tag: "Maybe", error: error.message }
    : { _tag: "No", error: error.message }
}

/** Gives what is wrong with the results, if the streams hold nothing but the events of these appends. */
export const problemsOf = (outcomes: ReadonlyArray<Outcome>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const problems: Array<string> = []
    const stored = new Map<string, ReadonlyArray<string>>()
    const all = new Set<string>()
    for (const name of streams) {
      const events = Chunk.toReadonlyArray(yield* Stream.runCollect(store.read(stream(name))))
      stored.set(name, events.map(({ id }) => id))
      for (const [index, { id, version }] of events.entries()) {
        if (version !== index + 1) problems.push(`${name} has version ${version} in place ${index + 1}`)
        if (all.has(id)) problems.push(`${id} is stored twice`)
        all.add(id)
      }
    }
    const proposed = new Set(outcomes.flatMap(({ ids }) => ids))
    for (const id of all) if (!proposed.has(id)) problems.push(`${id} is stored, and no append had it`)
    for (const { expected, ids, result, stream } of outcomes) {
      const there = ids.filter((id) => all.has(id)).length
      if (there !== 0 && there !== ids.length) problems.push(`${ids[0]} was stored in part`)
      if (result._tag === "Ok") {
        const first = result.version - ids.length
        if (ids.some((id, index) => stored.get(stream)?.[first + index] !== id)) {
          problems.push(`${ids[0]} was acknowledged as ${result.version} of ${stream} and is not there`)
        }
        if (expected !== undefined && first !== expected) problems.push(`${ids[0]} was stored at ${first}`)
      } else if (result._tag !== "Maybe" && there > 0) {
        problems.push(`${ids[0]} was answered with ${JSON.stringify(result)} and is there`)
      }
      if (result._tag === "Conflict" && (expected === undefined || expected === result.actual)) {
        problems.push(`${ids[0]} expected ${expected} and was refused at ${result.actual}`)
      }
    }
    return problems
  })
