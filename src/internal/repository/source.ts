import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Aggregate from "../../Aggregate.js"
import type * as EventStore from "../../EventStore.js"
import * as StreamId from "../../StreamId.js"
import { encodeState } from "../schema/stateText.js"
import type { Folded, Loadable, Place } from "./loadable.js"

/**
 * Records the events and the beginning that the state of a command was folded from. `evolve` or `decide` may change the
 * state in place, so a command that lost a race or takes a snapshot folds it once more from here. The source keeps the
 * texts that the load read and copies nothing. Why: docs/decisions/0067-folding-again.md.
 */
export interface Source<State> {
  /** Begins anew. `state` must give an equal state each time that it is called. */
  readonly begin: (state: () => Option.Option<State>, at: Place) => void
  /** Adds the events that were folded next. */
  readonly add: (page: ReadonlyArray<EventStore.TailEvent>) => void
  /** Takes the state after a load. If the events were too long to keep, the source keeps the text of the state. */
  readonly settle: (folded: Folded<State>) => void
  /** Keeps the text of the state in place of the texts of many events, for a source that is kept for long. */
  readonly compact: () => void
  /** Folds the state once more, and these events onto it. `None`: only the store can give it. */
  readonly again: (events?: ReadonlyArray<EventStore.TailEvent>) => Option.Option<Folded<State>>
}

export const make = <Id, State>(
  loadable: Loadable<Id, State>,
  codec: Aggregate.Codec<State, unknown>
): Source<State> => {
  // only an error would name the stream, and a fold that fails here is repeated from the store
  const stream = StreamId.make(loadable.name, "")
  let start: Place & { readonly state: () => Option.Option<State> } | undefined
  let pages: Array<ReadonlyArray<EventStore.TailEvent>> = []
  let length = 0
  let kept = mostHeld

  const begin: Source<State>["begin"] = (state, { eventId, time, version }) => {
    start = { state, version, eventId, time }
    pages = []
    length = 0
  }

  const again: Source<State>["again"] = (events = []) => {
    if (start === undefined || length > mostKept) return Option.none()
    const { eventId, state, time, version } = start
    return Option.flatMap(state(), (state) => {
      let folded: Folded<State> = { state, version, eventId, time, replayed: 0 }
      for (const page of [...pages, events]) {
        const next = loadable.fold(stream, folded, page)
        if (Either.isLeft(next)) return Option.none()
        folded = next.right
      }
      return Option.some(folded)
    })
  }

  const beginAt = (text: string, at: Place): void => begin(() => Either.getRight(codec.decode(JSON.parse(text))), at)

  return {
    begin,
    again,
    add: (page) => {
      for (const { payload } of page) length += payload.length
      if (length > mostKept) pages = []
      else pages.push(page)
    },
    settle: ({ eventId, state, time, version }) => {
      if (length <= mostKept) return
      const text = encodeState(codec, state)
      start = undefined
      if (Either.isRight(text)) beginAt(text.right, { version, eventId, time })
    },
    compact: () => {
      if (length <= kept) return
      const folded = again()
      if (Option.isNone(folded)) return
      const text = encodeState(codec, folded.value.state)
      // to encode the state costs about as much as to read as much text again
      kept = Math.max(mostHeld, Either.match(text, { onLeft: () => 2 * length, onRight: ({ length }) => length }))
      if (Either.isRight(text)) beginAt(text.right, folded.value)
    }
  }
}

// in characters of events: many commands at a time must not keep much more than they read anyway
const mostKept = 1_000_000

// in characters of events: a process may hold many states
const mostHeld = 32_000
