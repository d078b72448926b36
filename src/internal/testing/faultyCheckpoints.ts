import * as Effect from "effect/Effect"
import { CheckpointStore, CheckpointStoreError } from "../../CheckpointStore.js"
import { inject, type Met, type Operation, type Site, type start } from "./injection.js"

type Store = CheckpointStore["Type"]
type Lease = Parameters<Store["renew"]>[0]
type OperationOf<O> = O extends `CheckpointStore.${infer Name}` ? Name : never

/** Wraps a checkpoint store. Faults of a lease or a transaction have no effect on calls without one. */
export const checkpointStore = (store: Store, next: ReturnType<typeof start>): Store => {
  const failing = (operation: string) => (injected: { readonly message: string }, when: "Before" | "After") =>
    new CheckpointStoreError({
      operation,
      reason: "Unavailable",
      mayHaveHappened: when === "After",
      detail: injected.message,
      cause: injected
    })
  const at = (name: OperationOf<Operation>): Site<CheckpointStoreError> => ({
    meet: () => next(`CheckpointStore.${name}`, undefined),
    failure: failing(name)
  })

  /** Another owner takes the lease for a moment. */
  const lose = (lease: Lease) =>
    Effect.zipRight(
      store.release(lease),
      store.acquire(lease, { owner: "Faults.loseLease", ttl: 1, index: lease.index, of: lease.of })
    )

  const withLease = <A, E, R>(name: OperationOf<Operation>, lease: Lease, run: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      const { failure, meet } = at(name)
      const met = meet()
      if (met.fault?._tag !== "LoseLease") return inject({ failure, meet: () => met }, run)
      met.tell()
      return Effect.zipRight(lose(lease), run)
    })

  /** A call with an effect in its transaction. */
  const transact = <A, E, R>(
    name: OperationOf<Operation>,
    run: (inside: Inside) => Effect.Effect<A, E, R>,
    lease?: Lease
  ) =>
    Effect.suspend(() => {
      const { failure, meet } = at(name)
      const met = meet()
      const call = run(insideOf(met, failure))
      if (met.fault?._tag === "LoseLease" && lease !== undefined) {
        met.tell()
        return Effect.zipRight(lose(lease), call)
      }
      return inject({ failure, meet: () => met }, call)
    })

  return CheckpointStore.of({
    register: (registration) => inject(at("register"), store.register(registration)),
    attend: (key, options) => inject(at("attend"), store.attend(key, options)),
    leave: (key, owner) => inject(at("leave"), store.leave(key, owner)),
    acquire: (key, options) => inject(at("acquire"), store.acquire(key, options)),
    renew: (lease, ttl) => withLease("renew", lease, store.renew(lease, ttl)),
    release: (lease) => inject(at("release"), store.release(lease)),
    advance: (lease, options, effect) =>
      transact("advance", (inside) => store.advance(lease, options, (...seen) => inside(effect(...seen))), lease),
    stop: (lease, stopped) => withLease("stop", lease, store.stop(lease, stopped)),
    resume: (key) => inject(at("resume"), store.resume(key)),
    park: (key, events) => inject(at("park"), store.park(key, events)),
    parked: (key, options) => inject(at("parked"), store.parked(key, options)),
    unpark: (key, positions, effect) => transact("unpark", (inside) => store.unpark(key, positions, inside(effect))),
    hold: (keys, ttl) => inject(at("hold"), store.hold(keys, ttl)),
    repartition: (key) => inject(at("repartition"), store.repartition(key)),
    promote: (key, effect) => transact("promote", (inside) => store.promote(key, inside(effect))),
    remove: (key, options) => inject(at("remove"), store.remove(key, options)),
    list: inject(at("list"), store.list),
    sharesDatabase: store.sharesDatabase,
    inline: store.inline,
    local: store.local
  })
}

interface Inside {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | CheckpointStoreError, R>
}

/** What a fault makes of an effect inside of a transaction. */
const insideOf = ({ fault, mark, tell }: Met, failure: Site<CheckpointStoreError>["failure"]): Inside => (effect) => {
  switch (fault?._tag) {
    case "FailCommit":
      return Effect.zipRight(
        effect,
        Effect.suspend(() => {
          tell()
          return failure(mark(), "Before")
        })
      )
    case "Freeze":
      return Effect.zipLeft(effect, Effect.zipRight(Effect.sync(tell), Effect.sleep(fault.duration)))
    default:
      return effect
  }
}
