// Appends of several streams as one statement. Why: docs/decisions/0111-groups-as-sets.md.
import * as ExpectedVersion from "../../../ExpectedVersion.js"
import type { AppendGroup, AppendOptions } from "../dialect.js"
import * as Row from "../row.js"
import * as Arrays from "./arrays.js"

/** A group of appends for a text that calls the function of groups. */
export const make = (text: string): AppendGroup => (appends) => {
  const rounds = inRounds(appends)
  return {
    query: { text, params: params(appends, rounds) },
    split: ([[verdicts]]) => {
      const [time, ...lines] = Row.text(verdicts).split("\n")
      const answers = appends.map((): ReadonlyArray<ReadonlyArray<unknown>> => [[null]])
      let events = 0
      for (const place of rounds.flat()) {
        events += appends[place].events.length
        const line = lines[events - 1]
        if (line !== "") answers[place] = [[`${line} ${time}`]]
      }
      return answers
    }
  }
}

/**
 * The places of the appends, in rounds. A round has one append of each stream and each event id at most. The statement of a round does not
 * see its own events, but those of earlier rounds. All groups have the same order within a round, so that two of them
 * wait for each other in one direction only.
 */
const inRounds = (appends: ReadonlyArray<AppendOptions>): ReadonlyArray<ReadonlyArray<number>> => {
  const places = appends.map((_, place) => place)
    .sort((a, b) => compare(appends[a], appends[b]) || a - b)
  const rounds: Array<Array<number>> = []
  const eventIds = new Set<string>()
  let number = 0
  for (const [index, place] of places.entries()) {
    number = index > 0 && compare(appends[places[index - 1]], appends[place]) === 0 ? number + 1 : 0
    const { events } = appends[place]
    // the function tells the events of a round apart by their ids
    if (events.some(({ id }) => eventIds.has(id))) number = Math.max(number, rounds.length)
    for (const { id } of events) eventIds.add(id)
    const round = rounds[number] ??= []
    round.push(place)
  }
  return rounds
}

const compare = ({ stream: a }: AppendOptions, { stream: b }: AppendOptions): number =>
  a.aggregate < b.aggregate ? -1 : a.aggregate > b.aggregate ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0

// a value for each event
const params = (
  appends: ReadonlyArray<AppendOptions>,
  rounds: ReadonlyArray<ReadonlyArray<number>>
): ReadonlyArray<unknown> => {
  const texts: ReadonlyArray<Array<string>> = [[], [], [], [], [], []]
  const [aggregates, ids, eventIds, types, payloads, metadata] = texts
  const lows: Array<number> = []
  const highs: Array<number> = []
  const numbers: Array<number> = []
  const times: Array<number | null> = []
  const ends: Array<number> = []
  let isTimed = false
  for (const round of rounds) {
    for (const place of round) {
      const { events, expected, stream } = appends[place]
      const { max, min } = ExpectedVersion.bounds(expected)
      for (const [index, event] of events.entries()) {
        aggregates.push(stream.aggregate)
        ids.push(stream.id)
        lows.push(min)
        highs.push(max)
        numbers.push(index + 1)
        eventIds.push(event.id)
        types.push(event.type)
        payloads.push(event.payload)
        metadata.push(event.metadata)
        times.push(event.time ?? null)
        isTimed ||= event.time !== undefined
      }
    }
    ends.push(ids.length)
  }
  return [
    ...texts.map(Arrays.texts),
    ...[lows, highs, numbers, ends].map(Arrays.numbers),
    isTimed ? Arrays.numbers(times) : null
  ]
}
