// What a process knows of the subscriptions that it works for itself. Each checkpoint store has one.
import * as Position from "../../Position.js"
import * as Signal from "../signal.js"
import type { Key, Lease } from "./model.js"
import * as Progress from "./progress.js"
import type * as StatusModel from "./statusModel.js"

/**
 * What a process knows of the subscriptions that it works for itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface Local {
  /** Rings when a checkpoint advanced in this process, or a partition stopped. */
  readonly advanced: Signal.Signal
  /** The work of this process, by subscription. */
  readonly reports: Map<string, LocalReport>
  /** Where each subscription was at the last looks of `Projections.status`. */
  readonly samples: Map<string, ReadonlyArray<Progress.Sample>>
}

/**
 * The work of a process for a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface LocalReport {
  readonly key: Key
  /** The partitions that this process has the lease of. */
  readonly owned: Set<number>
  /** Where those of them are that this process has advanced. */
  readonly reached: Map<number, Reached>
  /** The number of events handled by this process. */
  handled: number
  /** The number of events handled in each of the last seconds, by second. */
  readonly seconds: Map<number, number>
  /** The last failure. It stays after the subscription recovered. */
  lastError: { readonly reason: string; readonly time: number } | undefined
  /** How often a lease was lost to another process. */
  lost: number
}

/**
 * Where a partition is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reached {
  readonly position: Position.Position
  readonly of: number
  /** Whether the version was the active one when the partition got there. */
  readonly active: boolean
}

export const make = (): Local => ({ advanced: Signal.make(), reports: new Map(), samples: new Map() })

/** The report of a subscription, or `undefined` if this process works for it already. */
export const claim = ({ reports }: Local, key: Key): LocalReport | undefined => {
  const name = nameOf(key)
  if (reports.has(name)) return undefined
  const report: LocalReport = {
    key,
    owned: new Set(),
    reached: new Map(),
    handled: 0,
    seconds: new Map(),
    lastError: undefined,
    lost: 0
  }
  reports.set(name, report)
  return report
}

export const release = ({ reports }: Local, key: Key): void => void reports.delete(nameOf(key))

export const reportOf = ({ reports }: Local, key: Key): LocalReport | undefined => reports.get(nameOf(key))

/** Notes where a partition is, for those who wait for it in this process. */
export const reach = ({ reached }: LocalReport, { index, of, position }: Lease, active: boolean | undefined): void => {
  if (active === undefined) reached.delete(index)
  else reached.set(index, { position, of, active })
}

/**
 * What this process knows of a position: that the active version of a name has reached it, that this process is about to
 * bring it there, or nothing. A version is promoted only where all partitions of the former one stand too: if these reached
 * the position while their version was active, then no version that was promoted since is before it.
 */
export const progressOf = (
  { reports }: Local,
  name: string,
  position: Position.Position
): "Reached" | "Coming" | "Unknown" => {
  for (const { key, reached } of reports.values()) {
    if (key.name !== name) continue
    const partitions = Array.from(reached.values())
    const [first] = partitions
    const isWhole = partitions.length > 0 && partitions.length === first.of &&
      partitions.every(({ active, of }) => active && of === first.of)
    if (!isWhole) continue
    return partitions.every((one) => Position.Order(one.position, position) >= 0) ? "Reached" : "Coming"
  }
  return "Unknown"
}

/** Compares where a subscription is now with the looks before, and keeps the look. */
export const observe = ({ samples }: Local, key: Key, now: Progress.Sample): StatusModel.Progress => {
  const name = nameOf(key)
  const [progress, kept] = Progress.progress(samples.get(name) ?? [], now)
  samples.set(name, kept)
  return progress
}

/** The events handled a second, over the last ten seconds. */
export const rateOf = ({ seconds }: LocalReport, now: number): number => {
  const last = Math.floor(now / 1_000)
  const isRecent = (second: number) => second > last - rateSeconds && second <= last
  return Array.from(seconds).reduce((sum, [second, events]) => isRecent(second) ? sum + events : sum, 0) / rateSeconds
}

export const count = (report: LocalReport, events: number, now: number): void => {
  const second = Math.floor(now / 1_000)
  report.handled += events
  report.seconds.set(second, (report.seconds.get(second) ?? 0) + events)
  // a clock that was set backwards leaves seconds that are to come
  for (const old of report.seconds.keys()) if (old <= second - rateSeconds || old > second) report.seconds.delete(old)
}

const rateSeconds = 10

const nameOf = ({ name, version }: Key): string => `${version} ${name}`
