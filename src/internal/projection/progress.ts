// How fast a version comes nearer to the end of the feed, from where it was at earlier looks of this process.
import * as Option from "effect/Option"
import * as Position from "../../Position.js"
import { Progress } from "./statusModel.js"

/** Where a version was at a look. */
export interface Sample {
  /** Milliseconds. */
  readonly time: number
  /** The lowest checkpoint. */
  readonly position: Position.Position
  /** The number of events that were left. */
  readonly remaining: number
}

/** Compares a look with the first one of the last 30 seconds, and gives the looks to keep. */
export const progress = (
  samples: ReadonlyArray<Sample>,
  now: Sample
): readonly [progress: Progress, samples: ReadonlyArray<Sample>] => {
  // the clock may have been put back
  const recent = samples.filter(({ time }) => time > now.time - window && time <= now.time)
  const first = recent.find(({ time }) => time < now.time)
  const seconds = first === undefined ? 0 : (now.time - first.time) / 1_000
  const rate = Option.map(Option.fromNullable(first), (first) => distance(first.position, now.position) / seconds)
  const nearer = Option.map(Option.fromNullable(first), (first) => (first.remaining - now.remaining) / seconds)
  const millisLeft = now.remaining === 0
    ? Option.some(0)
    : Option.map(Option.filter(nearer, (nearer) => nearer > 0), (nearer) => now.remaining / nearer * 1_000)
  const last = recent.at(-1)
  const kept = last !== undefined && now.time - last.time < spacing ? recent : [...recent, now]
  return [new Progress({ remaining: now.remaining, rate, millisLeft }), kept]
}

const window = 30_000

/** A list of looks has at most a few hundred elements. */
const spacing = 100

/**
 * The number of events between two positions of one feed, from their sequence numbers. Numbers may be missing, and those of
 * two transactions that ran at the same time may be mixed.
 */
export const distance = (from: Position.Position, to: Position.Position): number =>
  Position.Order(from, to) >= 0
    ? 0
    : Math.max(1, Number(BigInt(Position.toParts(to).sequence) - BigInt(Position.toParts(from).sequence)))
