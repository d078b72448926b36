/**
 * Injects faults into the calls of a store.
 *
 * Each call asks the plan for its fault, and meets it before or after the call of the wrapped store. Cost: one map
 * lookup and one call of the plan for each call of the store.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as StreamId from "../../StreamId.js"
import { Injected } from "./injected.js"
import type { Plan } from "./plans.js"

/**
 * The effect of a fault on a call.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly _tag: "Fail"; readonly when: "Before" | "After" }
  | { readonly _tag: "Die"; readonly when: "Before" | "After" }
  | {
    readonly _tag: "Hang"
    readonly when: "Before" | "After"
    /** If true, the call cannot be interrupted. Default false. */
    readonly stuck?: boolean | undefined
  }
  | { readonly _tag: "Interrupt"; readonly when: "Before" | "After" }
  | { readonly _tag: "Delay"; readonly duration: Duration.DurationInput }
  | { readonly _tag: "Duplicate" }
  | { readonly _tag: "Corrupt" }
  | { readonly _tag: "LoseLease" }
  | { readonly _tag: "FailCommit" }
  | { readonly _tag: "Freeze"; readonly duration: Duration.DurationInput }

/**
 * The operations of the stores that can meet a fault. `EventStore.readWithSnapshot` is the one round trip of stores that
 * share a database; `EventStore.transaction` is the transaction in which they write events and an inline snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export type Operation =
  | "EventStore.append"
  | "EventStore.read"
  | "EventStore.readEvents"
  | "EventStore.readAll"
  | "EventStore.readPage"
  | "EventStore.head"
  | "EventStore.countAfter"
  | "EventStore.streams"
  | "EventStore.version"
  | "EventStore.find"
  | "EventStore.import"
  | "EventStore.readTail"
  | "EventStore.readWithSnapshot"
  | "EventStore.transaction"
  | "SnapshotStore.get"
  | "SnapshotStore.save"
  | "SnapshotStore.delete"
  | "SnapshotStore.exists"
  | "SnapshotStore.deleteByType"
  | "CheckpointStore.register"
  | "CheckpointStore.attend"
  | "CheckpointStore.leave"
  | "CheckpointStore.acquire"
  | "CheckpointStore.renew"
  | "CheckpointStore.release"
  | "CheckpointStore.advance"
  | "CheckpointStore.stop"
  | "CheckpointStore.resume"
  | "CheckpointStore.park"
  | "CheckpointStore.parked"
  | "CheckpointStore.unpark"
  | "CheckpointStore.hold"
  | "CheckpointStore.repartition"
  | "CheckpointStore.promote"
  | "CheckpointStore.remove"
  | "CheckpointStore.list"

/**
 * A call, as a plan receives it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly operation: Operation
  /** The number of the call among the calls of this operation, from 1. */
  readonly n: number
  /**
   * `undefined` for `EventStore.readAll`, `readPage`, `head`, `streams`, `find`, `import` and `transaction`, for
   * `SnapshotStore.deleteByType` and all operations of a `CheckpointStore`.
   */
  readonly stream: StreamId.StreamId | undefined
}

/** A numbered call and its fault. */
export interface Met {
  readonly call: Call
  readonly fault: Fault | undefined
  /** Reports that the fault happens. */
  readonly tell: () => void
  readonly mark: () => Injected
}

/** Starts a plan and numbers the calls. */
export const start = (plan: Plan<Call, Fault>, onFault: ((call: Call, fault: Fault) => void) | undefined) => {
  const ask = plan.start()
  const counts = new Map<Operation, number>()
  return (operation: Operation, stream: StreamId.StreamId | undefined): Met => {
    const n = (counts.get(operation) ?? 0) + 1
    counts.set(operation, n)
    const call = { operation, n, stream }
    const fault = ask(call)
    return {
      call,
      fault,
      tell: () => fault === undefined ? undefined : onFault?.(call, fault),
      mark: () => new Injected({ operation, call: n, fault: fault === undefined ? "none" : nameOf(fault) })
    }
  }
}

const nameOf = (fault: Fault): string => "when" in fault ? `${fault._tag} ${fault.when}` : fault._tag

/** A call of a store, before the plan is asked for its fault. */
export interface Site<out F> {
  readonly meet: () => Met
  readonly failure: (injected: Injected, when: "Before" | "After") => F
}

/** Injects the fault of a call into its effect. `corrupt` gives `none` if the value contains no row. */
export const inject = <A, E, F, R = never>(
  { failure, meet }: Site<F>,
  run: Effect.Effect<A, E, R>,
  corrupt: (value: A, n: number, mark: () => Injected) => Option.Option<A> = Option.none
): Effect.Effect<A, E | F, R> =>
  Effect.suspend((): Effect.Effect<A, E | F, R> => {
    const met = meet()
    const { call, fault, tell } = met
    if (fault === undefined) return run
    switch (fault._tag) {
      case "Delay":
        tell()
        return Effect.zipRight(Effect.sleep(fault.duration), run)
      case "Duplicate":
        tell()
        return Effect.zipRight(Effect.exit(run), run)
      case "Corrupt":
        return Effect.map(run, (value) => {
          const corrupted = corrupt(value, call.n, met.mark)
          if (Option.isSome(corrupted)) tell()
          return Option.getOrElse(corrupted, () => value)
        })
      case "LoseLease":
      case "FailCommit":
      case "Freeze":
        // the call has no lease and no transaction
        return run
      default: {
        const happens = happen(fault, met, failure)
        // a call that fails by itself has no acknowledgement to lose
        return fault.when === "Before" ? happens : Effect.zipRight(run, happens)
      }
    }
  })

const happen = <F>(
  fault: Extract<Fault, { readonly when: string }>,
  { mark, tell }: Met,
  failure: Site<F>["failure"]
): Effect.Effect<never, F> =>
  Effect.suspend((): Effect.Effect<never, F> => {
    tell()
    switch (fault._tag) {
      case "Fail":
        return Effect.fail(failure(mark(), fault.when))
      case "Die":
        return Effect.die(mark())
      case "Hang":
        return fault.stuck === true ? stuckForEver : Effect.never
      case "Interrupt":
        return Effect.interrupt
    }
  })

// unlike Effect.never, it does not keep the process alive
const stuckForEver = Effect.uninterruptible(Effect.async<never>(() => {}))
