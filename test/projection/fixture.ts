import { Effect, Layer, Option } from "effect"
import { CheckpointStore, Event, EventStore, ExpectedVersion, StreamId } from "effect-eventsourcing"

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
