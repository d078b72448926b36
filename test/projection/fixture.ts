import { Effect, Layer, Option, Ref } from "effect"
import { CheckpointStore, Event, EventStore, ExpectedVersion, Projection, StreamId } from "effect-eventsourcing"
import { Account } from "../fixtures/Account.js"

export const memory = Layer.merge(EventStore.layerMemory, CheckpointStore.layerMemory)

/** Appends deposits to an account, and gives the position of the last one. */
export const append = (account: string, amounts: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const generate = yield* Event.IdGenerator
    const events = yield* Effect.forEach(amounts, (amount) =>
      Effect.map(generate, (id) => ({ id, type: "Deposited", payload: { _tag: "Deposited", amount } })))
    const { position } = yield* store.append(StreamId.make("Account", account), events, {
      expectedVersion: ExpectedVersion.any
    })
    return Option.getOrThrow(position)
  })

/** The amount of a decoded event of an account, or 0. */
export const amountOf = ({ event }: { readonly event: { readonly _tag: string; readonly amount?: number } }): number =>
  event.amount ?? 0

/** A projection in memory that counts how often it handles each event. */
export const counting = Effect.map(Ref.make<Record<string, number>>({}), (counts) => ({
  counts,
  projection: Projection.make({
    name: "sums",
    on: [Account],
    handle: (events) =>
      Ref.update(counts, (before) => {
        const after = { ...before }
        for (const { id } of events) after[id] = (after[id] ?? 0) + 1
        return after
      })
  })
}))

/** Lets the fibers that are ready run, without time. */
export const settle = Effect.forEach(Array.from({ length: 200 }), () => Effect.yieldNow(), { discard: true })

/** Runs an effect as another process would: on the same stores, with knowledge of its own. */
export const asProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.updateService(effect, CheckpointStore.CheckpointStore, (store) => ({
    ...store,
    local: CheckpointStore.makeLocal()
  }))

/** Like `asProcess`, but the process is killed when its scope closes: it gives nothing back. */
export const asKilled = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.updateService(effect, CheckpointStore.CheckpointStore, (store) => ({
    ...store,
    local: CheckpointStore.makeLocal(),
    release: () => Effect.void,
    leave: () => Effect.void
  }))
