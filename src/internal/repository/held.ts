// The state that a writer holds between its commands, so that a command needs no load.
// Mechanism: an operation takes the state, and gives it back only if it knows which events are stored. Beside the state
// are the texts that it was folded from. After an operation that stored nothing, and for a snapshot, the state is folded
// again from them, because `decide` or `evolve` may have changed it in place.
// Cost: the texts of the events since the last snapshot or compaction, and one fold of them after a rejection.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as EventStore from "../../EventStore.js"
import type * as Snapshot from "../../Snapshot.js"
import { type Baseline, baselineOf, type Used } from "./baseline.js"
import { proofOf } from "./loadable.js"
import type { CreatedSnapshot } from "./model.js"
import type { Source } from "./source.js"

export interface Held<in out State> {
  readonly source: Source<State>
  /** Takes the state for an operation. `None`: the operation must load it. */
  readonly take: () => Option.Option<Baseline<State>>
  /** Gives back a state that no command has decided on, after a load. */
  readonly loaded: (baseline: Baseline<State>) => void
  /** Gives back the state after an append. The events are as the store returns them. */
  readonly appended: (after: Baseline<State>, events: ReadonlyArray<EventStore.TailEvent>) => void
  /** Gives back the state that a command took and that it may have changed, although it stored nothing. */
  readonly untouched: (before: Baseline<State>) => void
  /** Notes that a snapshot of the held state was asked for. The next one is due by the distance from it. */
  readonly asked: (schemaVersion: number, now: number) => void
  /** Folds the held state again, for a snapshot. */
  readonly again: () => Option.Option<InHand<State>>
  /** Notes a snapshot that was saved of a state from {@link Held.again}. */
  readonly saved: (snapshot: CreatedSnapshot<State>) => void
  /** How many events the held state has more than the last snapshot that was asked for. `None`: no state is held. */
  readonly unsaved: (schemaVersion: number) => Option.Option<Unsaved>
  /** The held state, without taking it. */
  readonly current: () => Option.Option<Baseline<State>>
  /** Drops the state, also that of a running operation. The next operation loads. */
  readonly drop: () => void
  /** Gives no state to an operation from now on, and keeps that of none. A snapshot may still be taken. */
  readonly close: () => void
  /** Runs one operation at a time. */
  readonly exclusively: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

export interface Unsaved extends Pick<Baseline<unknown>, "stream" | "version"> {
  readonly count: number
}

/** The state for a snapshot, and the stored snapshot that the state is based on. */
export interface InHand<out State> {
  readonly baseline: Baseline<State>
  readonly base: Option.Option<Used>
}

export const make = <State>(source: Source<State>): Held<State> => {
  const { withPermits } = Effect.unsafeMakeSemaphore(1)
  const hand: Hand<State> = {
    source,
    current: undefined,
    last: undefined,
    base: Option.none(),
    mark: undefined,
    changed: false,
    drops: 0,
    taken: -1,
    closed: false
  }
  return {
    source,
    take: () => {
      const { changed, closed, current, drops } = hand
      hand.current = undefined
      if (closed) return Option.none()
      hand.taken = drops
      return current === undefined ? Option.none() : changed ? refold(hand, current) : Option.some(current)
    },
    loaded: (baseline) => {
      if (give(hand, baseline, false)) source.compact()
    },
    appended: (after, events) => {
      if (!give(hand, after, false)) return
      source.add(events)
      source.compact()
    },
    untouched: (before) => {
      give(hand, before, true)
    },
    asked: (schemaVersion, now) => {
      const { current } = hand
      const eventId = current === undefined ? null : proofOf(current)
      if (current === undefined || eventId === null) return
      note(hand, current, { version: current.version, eventId, schemaVersion, time: now })
    },
    again: () =>
      Option.map(
        Option.flatMap(Option.fromNullable(hand.last), (last) => refold(hand, last)),
        (baseline) => ({ baseline, base: hand.base })
      ),
    saved: ({ outcome, snapshot: { eventId, schemaVersion, time, version } }) => {
      // the newer snapshot of another process is not known: the next save reads the stream
      if (outcome !== "Saved") return
      const used = { version, eventId, schemaVersion, time: time.epochMillis }
      hand.base = Option.some(used)
      const { current } = hand
      if (current === undefined) return
      note(hand, baselineOf(current, { ...current, refuted: Option.none() }), used)
    },
    unsaved: (schemaVersion) =>
      Option.map(Option.fromNullable(hand.last), ({ stream, used, version }) => {
        const own = Option.filter(used, (used) => used.schemaVersion === schemaVersion)
        const saved = Option.match(own, { onNone: () => 0, onSome: ({ version }) => version })
        return { stream, version, count: version - saved }
      }),
    current: () => Option.fromNullable(hand.current),
    drop: () => {
      hand.current = hand.last = undefined
      hand.base = Option.none()
      hand.drops++
    },
    close: () => {
      hand.closed = true
    },
    exclusively: (effect) => withPermits(1)(effect)
  }
}

interface Hand<in out State> {
  readonly source: Source<State>
  /** Undefined while an operation has taken it. */
  current: Baseline<State> | undefined
  /** The same, and the state that an operation has taken. */
  last: Baseline<State> | undefined
  base: InHand<State>["base"]
  /** The mark of {@link Held.asked}, which is not a snapshot that the state came from. */
  mark: Option.Option<Used> | undefined
  /** Whether a command may have changed the state in place. */
  changed: boolean
  drops: number
  /** The number of drops when the state was taken. */
  taken: number
  /** Whether the scope of the writer is closed. */
  closed: boolean
}

/** Returns false if the state cannot be kept. */
const give = <State>(hand: Hand<State>, baseline: Baseline<State>, changed: boolean): boolean => {
  // it was dropped since it was taken
  if (hand.taken !== hand.drops) return false
  hand.taken = -1
  // without a proof the next load could not tell whether the history is still the same
  if (baseline.version > 0 && proofOf(baseline) === null) {
    hand.last = undefined
    return false
  }
  if (baseline.used !== hand.mark) {
    hand.base = baseline.used
    hand.mark = undefined
  }
  hand.changed = changed
  hand.current = hand.last = baselineOf(baseline, { ...baseline, ...settled })
  return true
}

/** Lets the policy count from a snapshot. */
const note = <State>(hand: Hand<State>, current: Baseline<State>, used: Used): void => {
  hand.mark = Option.some(used)
  hand.current = hand.last = baselineOf(current, { ...current, used: hand.mark })
}

const refold = <State>({ source }: Hand<State>, baseline: Baseline<State>): Option.Option<Baseline<State>> =>
  Option.filterMap(
    source.again(),
    (folded) =>
      folded.version === baseline.version && folded.eventId === baseline.eventId
        ? Option.some(baselineOf({ ...folded, replayed: 0 }, baseline))
        : Option.none()
  )

const disabled: Snapshot.SnapshotOutcome = { _tag: "Disabled" }

/** How a state is kept: it has no load of its own that could be reported or be a reason for a snapshot. */
const settled = { outcome: disabled, snapshotVersion: 0, took: 0, cached: false }

/** The time of an append in milliseconds, or null if the store did not give it. */
export const timeOf = ({ time }: EventStore.AppendResult): number | null =>
  Option.match(time, { onNone: () => null, onSome: DateTime.toEpochMillis })
