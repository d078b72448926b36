/**
 * Stores that fail on purpose. A layer wraps any event store or snapshot store; a plan says which call meets which
 * fault: the n-th, those that a predicate picks, or those that a seed picks.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { PCGRandom } from "effect/Utils"
import * as EventStore from "../EventStore.js"
import { orThrow, waitProblem, wholeFromOne, wholeProblem } from "../internal/options.js"
import { InvalidOption } from "../InvalidOption.js"
import type * as Snapshot from "../Snapshot.js"
import * as SnapshotStore from "../SnapshotStore.js"
import type * as StreamId from "../StreamId.js"

// -------------------------------------------------------------------------------------
// faults
// -------------------------------------------------------------------------------------

/**
 * What happens to a call.
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
    /** Whether not even an interruption ends it. Default false. */
    readonly stuck?: boolean | undefined
  }
  | { readonly _tag: "Interrupt"; readonly when: "Before" | "After" }
  | { readonly _tag: "Delay"; readonly duration: Duration.DurationInput }
  | { readonly _tag: "Duplicate" }
  | { readonly _tag: "Corrupt" }

/**
 * The call fails with the store's typed error, and nothing is done. The error's cause is {@link Injected}.
 *
 * @since 0.1.0
 * @category faults
 */
export const fail: Fault = { _tag: "Fail", when: "Before" }

/**
 * The call dies, and nothing is done. The defect is {@link Injected}.
 *
 * @since 0.1.0
 * @category faults
 */
export const die: Fault = { _tag: "Die", when: "Before" }

/**
 * The call never returns, and nothing is done. It can be interrupted.
 *
 * @since 0.1.0
 * @category faults
 */
export const hang: Fault = { _tag: "Hang", when: "Before" }

/**
 * The call never returns, nothing is done, and it cannot be interrupted: as a driver that does not answer to a
 * cancellation. Whoever waits for it to end waits for ever, so wait with a time limit around `Effect.disconnect`.
 *
 * @since 0.1.0
 * @category faults
 */
export const stuck: Fault = { _tag: "Hang", when: "Before", stuck: true }

/**
 * The call interrupts itself, and nothing is done.
 *
 * @since 0.1.0
 * @category faults
 */
export const interrupt: Fault = { _tag: "Interrupt", when: "Before" }

/**
 * The call is carried out after a while, by the `Clock`. Throws an `InvalidOption` if the duration is negative or endless.
 *
 * @since 0.1.0
 * @category faults
 */
export const delay = (duration: Duration.DurationInput): Fault => {
  orThrow(waitProblem("Faults.delay duration", duration))
  return { _tag: "Delay", duration }
}

/**
 * The call is carried out, and then fails: an append says that it may have happened.
 *
 * @since 0.1.0
 * @category faults
 */
export const lostAcknowledgement: Fault = { _tag: "Fail", when: "After" }

/**
 * The call is carried out twice, as by a network that delivers a request twice. The second answer counts.
 *
 * @since 0.1.0
 * @category faults
 */
export const duplicate: Fault = { _tag: "Duplicate" }

/**
 * A row comes back broken. Of events, it is one of those read: no JSON, of an unknown type, or with another version. Of
 * snapshots, it is the one read or, in a save, the one written: a state that is no JSON, a version ahead of the stream,
 * the event id of another history, another fingerprint, or version 0. Which of these it is goes round by the number of
 * the call. Calls that give and write no rows are carried out as they are.
 *
 * @since 0.1.0
 * @category faults
 */
export const corrupt: Fault = { _tag: "Corrupt" }

/**
 * The fault after the call was carried out, instead of before: of {@link die}, {@link hang}, {@link stuck} and
 * {@link interrupt}.
 * After {@link fail} it is {@link lostAcknowledgement}; the others stay as they are.
 *
 * @since 0.1.0
 * @category faults
 */
export const after = (fault: Fault): Fault => "when" in fault ? { ...fault, when: "After" } : fault

/**
 * The mark of what was done on purpose: the cause of typed errors, and the defect of {@link die}.
 *
 * @since 0.1.0
 * @category errors
 */
export class Injected extends Schema.TaggedError<Injected>("effect-eventsourcing/testing/Injected")("Injected", {
  operation: Schema.String,
  /** Which call of this operation it was, from 1. */
  call: Schema.Number,
  fault: Schema.String
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${this.fault}, injected into call ${this.call} of ${this.operation}`
  }
}

/**
 * Whether an error, a defect or what caused it was injected.
 *
 * @since 0.1.0
 * @category guards
 */
export const isInjected = (error: unknown): boolean => {
  const seen = new Set<unknown>()
  for (let current = error; typeof current === "object" && current !== null && !seen.has(current);) {
    if (current instanceof Injected) return true
    seen.add(current)
    current = "cause" in current ? current.cause : undefined
  }
  return false
}

// -------------------------------------------------------------------------------------
// plans
// -------------------------------------------------------------------------------------

/**
 * @since 0.1.0
 * @category models
 */
export type Operation =
  | "EventStore.append"
  | "EventStore.read"
  | "EventStore.readAll"
  | "EventStore.version"
  | "EventStore.readTail"
  | "EventStore.readWithSnapshot"
  | "EventStore.transaction"
  | "SnapshotStore.get"
  | "SnapshotStore.save"
  | "SnapshotStore.delete"
  | "SnapshotStore.exists"
  | "SnapshotStore.deleteByType"

/**
 * A call as a plan sees it. `EventStore.readWithSnapshot` is the one round trip of stores that share a database,
 * `EventStore.transaction` the transaction in which they write events and an inline snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly operation: Operation
  /** Which call of this operation it is, from 1. */
  readonly n: number
  /** None for `EventStore.readAll`, `EventStore.transaction` and `SnapshotStore.deleteByType`. */
  readonly stream: StreamId.StreamId | undefined
}

/**
 * Says which calls meet a fault. It is started once for every store that is built with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan {
  readonly start: () => (call: Call) => Fault | undefined
}

/**
 * @since 0.1.0
 * @category plans
 */
export const none: Plan = { start: () => () => undefined }

/**
 * The n-th call of an operation, from 1; or several of them. Throws an `InvalidOption` for any other number.
 *
 * @since 0.1.0
 * @category plans
 */
export const onCall = (operation: Operation, n: number | ReadonlyArray<number>, fault: Fault): Plan => {
  const calls = new Set(typeof n === "number" ? [n] : n)
  for (const call of calls) orThrow(wholeFromOne("Faults.onCall n", call))
  return when((call) => call.operation === operation && calls.has(call.n), fault)
}

/**
 * The calls that fit.
 *
 * @since 0.1.0
 * @category plans
 */
export const when = (predicate: (call: Call) => boolean, fault: Fault): Plan => ({
  start: () => (call) => predicate(call) ? fault : undefined
})

/**
 * Calls at random: each meets a fault with probability `rate`, one of `faults` with equal chance. The same seed and the
 * same calls give the same faults. Throws an `InvalidOption` for what is no seed, no rate, or no fault.
 *
 * @since 0.1.0
 * @category plans
 */
export const seeded = (options: {
  /** A whole number. */
  readonly seed: number
  /** From 0 to 1. */
  readonly rate: number
  /** At least one. */
  readonly faults: ReadonlyArray<Fault>
  /** Default: all. */
  readonly operations?: ReadonlyArray<Operation> | undefined
}): Plan => {
  const { faults, operations, rate, seed } = options
  orThrow(wholeProblem("Faults.seeded seed", seed))
  if (!(rate >= 0 && rate <= 1)) {
    throw new InvalidOption({ option: "Faults.seeded rate", value: String(rate), expected: "a number from 0 to 1" })
  }
  if (faults.length === 0) {
    throw new InvalidOption({ option: "Faults.seeded faults", value: "[]", expected: "one fault or more" })
  }
  return {
    start: () => {
      const random = new PCGRandom(seed)
      return (call) => {
        if (operations?.includes(call.operation) === false) return undefined
        // always two numbers, so that what one call meets does not depend on what the others met
        const lot = random.number()
        const which = Math.floor(random.number() * faults.length)
        return lot < rate ? faults[which] : undefined
      }
    }
  }
}

/**
 * The first of several plans that has a fault for the call.
 *
 * @since 0.1.0
 * @category plans
 */
export const firstOf = (...plans: ReadonlyArray<Plan>): Plan => ({
  start: () => {
    const started = plans.map((plan) => plan.start())
    return (call) => {
      let found: Fault | undefined = undefined
      // all are asked, as each may count
      for (const next of started) {
        const fault = next(call)
        found ??= fault
      }
      return found
    }
  }
})

// -------------------------------------------------------------------------------------
// stores
// -------------------------------------------------------------------------------------

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Told of every fault that happens, just before it does. One of a plan that finds nothing to do, such as a `corrupt`
   * of a call that reads no row, does not happen; nor does one after a call that failed by itself.
   */
  readonly onFault?: ((call: Call, fault: Fault) => void) | undefined
}

/**
 * An event store that meets the faults of a plan.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeEventStore = (
  store: EventStore.EventStore["Type"],
  plan: Plan,
  options: Options = {}
): EventStore.EventStore["Type"] => {
  const next = counter(plan, options)
  const failure =
    (operation: EventStore.EventStoreError["operation"], stream?: StreamId.StreamId) =>
    (injected: Injected, when: "Before" | "After") =>
      new EventStore.EventStoreError({
        operation,
        ...(stream === undefined ? {} : { stream }),
        reason: "Unavailable",
        mayHaveAppended: operation === "append" && when === "After",
        detail: injected.message,
        cause: injected
      })

  return EventStore.EventStore.of({
    append: (stream, events, options) =>
      inject({
        ask: () => next("EventStore.append", stream),
        run: store.append(stream, events, options),
        failure: failure("append", stream)
      }),
    read: (stream, options) =>
      injectStream({
        ask: () => next("EventStore.read", stream),
        run: store.read(stream, options),
        failure: failure("read", stream)
      }),
    readAll: (options) =>
      injectStream({
        ask: () => next("EventStore.readAll", undefined),
        run: store.readAll(options),
        failure: failure("readAll")
      }),
    version: (stream) =>
      inject({
        ask: () => next("EventStore.version", stream),
        run: store.version(stream),
        failure: failure("version", stream)
      }),
    replay: {
      readTail: (stream, options) =>
        inject({
          ask: () => next("EventStore.readTail", stream),
          run: store.replay.readTail(stream, options),
          failure: failure("read", stream),
          corrupt: corruptPage
        }),
      withSnapshots: (snapshots) =>
        Option.map(store.replay.withSnapshots(snapshots), (shared): EventStore.SharedDatabase => ({
          read: (stream, options) =>
            inject({
              ask: () => next("EventStore.readWithSnapshot", stream),
              run: shared.read(stream, options),
              failure: failure("read", stream),
              corrupt: ({ events, snapshot }, n) =>
                n % 2 === 0
                  ? Option.map(corruptPage(events, n), (events) => ({ snapshot, events }))
                  : Option.map(snapshot, (found) => ({
                    events,
                    // by another fingerprint the store would have chosen other events
                    snapshot: Option.some(corruptSnapshot(found, n % 5 === 3 ? 0 : n))
                  }))
            }),
          transaction: (effect) =>
            inject({
              ask: () => next("EventStore.transaction", undefined),
              run: shared.transaction(effect),
              failure: failure("append")
            })
        })),
      inTransaction: store.replay.inTransaction,
      attempt: store.replay.attempt
    }
  })
}

/**
 * A snapshot store that meets the faults of a plan.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeSnapshotStore = (
  store: SnapshotStore.SnapshotStore["Type"],
  plan: Plan,
  options: Options = {}
): SnapshotStore.SnapshotStore["Type"] => {
  const next = counter(plan, options)
  const failure =
    (operation: SnapshotStore.SnapshotStoreError["operation"], aggregate: string, id?: string) =>
    (injected: Injected) =>
      new SnapshotStore.SnapshotStoreError({
        operation,
        aggregate,
        ...(id === undefined ? {} : { id }),
        reason: "Unavailable",
        detail: injected.message,
        cause: injected
      })

  return SnapshotStore.SnapshotStore.of({
    get: (stream, options) =>
      inject({
        ask: () => next("SnapshotStore.get", stream),
        run: store.get(stream, options),
        failure: failure("get", stream.aggregate, stream.id),
        corrupt: (found, n) => Option.map(found, (snapshot) => Option.some(corruptSnapshot(snapshot, n)))
      }),
    save: (snapshot) => {
      const { stream } = snapshot
      return Effect.suspend(() => {
        const met = next("SnapshotStore.save", stream)
        const corrupts = met.fault?._tag === "Corrupt"
        if (corrupts) met.tell()
        return inject({
          ask: () => met,
          run: store.save(corrupts ? corruptSnapshot(snapshot, met.call.n) : snapshot),
          failure: failure("save", stream.aggregate, stream.id)
        })
      })
    },
    delete: (stream, options) =>
      inject({
        ask: () => next("SnapshotStore.delete", stream),
        run: store.delete(stream, options),
        failure: failure("delete", stream.aggregate, stream.id)
      }),
    exists: (stream, options) =>
      inject({
        ask: () => next("SnapshotStore.exists", stream),
        run: store.exists(stream, options),
        failure: failure("exists", stream.aggregate, stream.id)
      }),
    deleteByType: (aggregate, options) =>
      inject({
        ask: () => next("SnapshotStore.deleteByType", undefined),
        run: store.deleteByType(aggregate, options),
        failure: failure("deleteByType", aggregate)
      })
  })
}

/**
 * Wraps the event store of the layer that it is given.
 *
 * @example
 * ```ts
 * import { EventStore } from "effect-eventsourcing"
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Layer } from "effect"
 *
 * const Flaky = Faults.layerEventStore(Faults.onCall("EventStore.append", 3, Faults.lostAcknowledgement)).pipe(
 *   Layer.provide(EventStore.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerEventStore = (
  plan: Plan,
  options?: Options
): Layer.Layer<EventStore.EventStore, never, EventStore.EventStore> =>
  Layer.effect(
    EventStore.EventStore,
    Effect.map(EventStore.EventStore, (store) => makeEventStore(store, plan, options))
  )

/**
 * Wraps the snapshot store of the layer that it is given.
 *
 * @example
 * ```ts
 * import { SnapshotStore } from "effect-eventsourcing"
 * import { Faults } from "effect-eventsourcing/testing"
 * import { Layer } from "effect"
 *
 * const Flaky = Faults.layerSnapshotStore(Faults.seeded({
 *   seed: 1,
 *   rate: 0.2,
 *   faults: [Faults.fail, Faults.die, Faults.hang, Faults.corrupt]
 * })).pipe(Layer.provide(SnapshotStore.layerMemory))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSnapshotStore = (
  plan: Plan,
  options?: Options
): Layer.Layer<SnapshotStore.SnapshotStore, never, SnapshotStore.SnapshotStore> =>
  Layer.effect(
    SnapshotStore.SnapshotStore,
    Effect.map(SnapshotStore.SnapshotStore, (store) => makeSnapshotStore(store, plan, options))
  )

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

interface Met {
  readonly call: Call
  readonly fault: Fault | undefined
  /** Says that the fault happens. */
  readonly tell: () => void
}

const counter = (plan: Plan, { onFault }: Options) => {
  const ask = plan.start()
  const counts = new Map<Operation, number>()
  return (operation: Operation, stream: StreamId.StreamId | undefined): Met => {
    const n = (counts.get(operation) ?? 0) + 1
    counts.set(operation, n)
    const call = { operation, n, stream }
    const fault = ask(call)
    return { call, fault, tell: () => fault === undefined ? undefined : onFault?.(call, fault) }
  }
}

const markOf = ({ n, operation }: Call, fault: Fault): Injected =>
  new Injected({ operation, call: n, fault: "when" in fault ? `${fault._tag} ${fault.when}` : fault._tag })

const inject = <A, E, F>(options: {
  readonly ask: () => Met
  readonly run: Effect.Effect<A, E>
  readonly failure: (injected: Injected, when: "Before" | "After") => F
  /** None where there is nothing to break. */
  readonly corrupt?: (value: A, n: number) => Option.Option<A>
}): Effect.Effect<A, E | F> =>
  Effect.suspend((): Effect.Effect<A, E | F> => {
    const { ask, corrupt, failure, run } = options
    const { call, fault, tell } = ask()
    if (fault === undefined) return run
    switch (fault._tag) {
      case "Delay":
        tell()
        return Effect.zipRight(Effect.sleep(fault.duration), run)
      case "Duplicate":
        tell()
        return Effect.zipRight(Effect.exit(run), run)
      case "Corrupt":
        return corrupt === undefined ? run : Effect.map(run, (value) => {
          const corrupted = corrupt(value, call.n)
          if (Option.isSome(corrupted)) tell()
          return Option.getOrElse(corrupted, () => value)
        })
      default: {
        const { _tag, when } = fault
        const happen = Effect.suspend((): Effect.Effect<never, F> => {
          tell()
          switch (_tag) {
            case "Fail":
              return Effect.fail(failure(markOf(call, fault), when))
            case "Die":
              return Effect.die(markOf(call, fault))
            case "Hang":
              return fault.stuck === true ? stuckForEver : Effect.never
            case "Interrupt":
              return Effect.interrupt
          }
        })
        // what fails by itself is no success whose acknowledgement could be lost
        return when === "Before" ? happen : Effect.zipRight(run, happen)
      }
    }
  })

// other than Effect.never, it does not keep the process alive
const stuckForEver = Effect.uninterruptible(Effect.async<never>(() => {}))

const injectStream = <
  A extends { readonly stream: StreamId.StreamId; readonly version: number; readonly type: string },
  E,
  F
>(
  options: {
    readonly ask: () => Met
    readonly run: Stream.Stream<A, E>
    readonly failure: (injected: Injected, when: "Before" | "After") => F
  }
): Stream.Stream<A, E | F | EventStore.EventDecodeError> =>
  Stream.suspend((): Stream.Stream<A, E | F | EventStore.EventDecodeError> => {
    const { run } = options
    const met = options.ask()
    const { call, fault, tell } = met
    if (fault === undefined) return run
    if (fault._tag === "Duplicate") {
      tell()
      return Stream.concat(Stream.drain(Stream.catchAllCause(run, () => Stream.empty)), run)
    }
    if (fault._tag === "Corrupt") {
      return Stream.mapChunksEffect(run, (page) => {
        const row = Chunk.get(page, call.n % Math.max(1, page.length))
        return Option.match(row, {
          onNone: () => Effect.succeed(page),
          onSome: ({ stream, type, version }) => {
            tell()
            return Effect.fail(new EventStore.EventDecodeError({ stream, version, type, cause: markOf(call, fault) }))
          }
        })
      })
    }
    const happens = Stream.drain(Stream.fromEffect(inject({ ...options, ask: () => met, run: Effect.void })))
    return "when" in fault && fault.when === "After" ? Stream.concat(run, happens) : Stream.concat(happens, run)
  })

const corruptPage = (
  page: ReadonlyArray<EventStore.TailEvent>,
  n: number
): Option.Option<ReadonlyArray<EventStore.TailEvent>> => {
  if (page.length === 0) return Option.none()
  const broken = n % page.length
  return Option.some(page.map((event, index) => {
    if (index !== broken) return event
    switch (n % 3) {
      case 0:
        return { ...event, payload: "{" }
      case 1:
        return { ...event, type: "corrupt" }
      default:
        return { ...event, version: event.version + 1_000_000 }
    }
  }))
}

const corruptSnapshot = (snapshot: Snapshot.EncodedSnapshot, n: number): Snapshot.EncodedSnapshot => {
  switch (n % 5) {
    case 0:
      return { ...snapshot, state: "{" }
    case 1:
      return { ...snapshot, version: snapshot.version + 1_000_000 }
    case 2:
      return { ...snapshot, eventId: "corrupt" }
    case 3:
      return { ...snapshot, fingerprint: "corrupt" }
    default:
      return { ...snapshot, version: 0 }
  }
}
