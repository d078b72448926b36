import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Aggregate from "../../Aggregate.js"
import type * as EventStore from "../../EventStore.js"
import * as Snapshot from "../../Snapshot.js"
import * as StreamId from "../../StreamId.js"
import { type Folded, foldPage } from "./fold.js"

/**
 * What the state of a command was folded from. An `evolve` or a `decide` may have changed the state itself, so that a
 * command which lost a race, or takes a snapshot, folds it once more from here. Nothing is copied for it: it keeps the
 * texts that the load has read. Why: docs/decisions/0067-folding-again.md.
 *
 * @internal
 */
export interface Source<State> {
  /** Begins anew, with what gives the same state each time that it is called. */
  readonly begin: (
    state: () => Option.Option<State>,
    at: { readonly version: number; readonly eventId: string | null }
  ) => void
  /** The events that were folded next. */
  readonly add: (page: ReadonlyArray<EventStore.TailEvent>) => void
  /** Told the state after each load: where too much text was read to keep it, that of the state is kept. */
  readonly settle: (folded: Folded<State>) => void
  /** The state once more, and these events on it. None where it cannot be had without the store. */
  readonly again: (events?: ReadonlyArray<EventStore.TailEvent>) => Option.Option<Folded<State>>
}

/** @internal */
export const make = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>
): Source<State> => {
  // only an error would name it, and what does not fold here is read from the store
  const stream = StreamId.make(aggregate.name, "")
  let start:
    | { readonly state: () => Option.Option<State>; readonly version: number; readonly eventId: string | null }
    | undefined
  let pages: Array<ReadonlyArray<EventStore.TailEvent>> = []
  let length = 0

  const begin: Source<State>["begin"] = (state, { eventId, version }) => {
    start = { state, version, eventId }
    pages = []
    length = 0
  }

  return {
    begin,
    add: (page) => {
      for (const { payload } of page) length += payload.length
      if (length > mostKept) pages = []
      else pages.push(page)
    },
    settle: ({ eventId, state, version }) => {
      if (length <= mostKept) return
      const text = Snapshot.encodeState(aggregate, state)
      start = undefined
      if (Either.isLeft(text)) return
      begin(() => Either.getRight(aggregate.state.decode(JSON.parse(text.right))), { version, eventId })
    },
    again: (events = []) => {
      if (start === undefined || length > mostKept) return Option.none()
      const { eventId, state, version } = start
      return Option.flatMap(state(), (state) => {
        let folded: Folded<State> = { state, version, eventId, replayed: 0 }
        for (const page of [...pages, events]) {
          const next = foldPage(aggregate, stream, folded, page)
          if (Either.isLeft(next)) return Option.none()
          folded = next.right
        }
        return Option.some(folded)
      })
    }
  }
}

// characters of events, so that many commands at a time keep no more than they read anyway
const mostKept = 1_000_000
