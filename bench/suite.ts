import { type Contender, type Effort, interleave, ratio, type Samples, spread } from "./measure.js"
import type { Row } from "./report.js"

/** What one run of the benchmark collects. */
export class Suite {
  readonly rows: Array<Row> = []
  constructor(readonly effort: Effort, readonly only: RegExp | undefined, readonly log: (row: Row) => void) {}

  /** Whether a row is asked for. */
  wants(name: string, backend: string): boolean {
    return this.only === undefined || this.only.test(`${name} ${backend}`)
  }

  add(row: Row): void {
    this.rows.push(row)
    this.log(row)
  }

  /**
   * Measures the first contender beside all others, and adds a row for each of those. The second one is the floor; the
   * rest are peers, of which the library has to be faster than each.
   */
  async compare(options: {
    readonly name: string
    readonly backend: string
    readonly size: number
    readonly target?: number | undefined
    /** What the library may take beside a peer: no longer than it, unless given. */
    readonly peerTarget?: ((peer: string) => number) | undefined
    readonly contenders: readonly [library: Contender, floor: Contender, ...peers: ReadonlyArray<Contender>]
  }): Promise<ReadonlyArray<Samples>> {
    const { backend, contenders, name, peerTarget = () => 1, size, target } = options
    const samples = await interleave(contenders, this.effort)
    for (const [index, contender] of contenders.entries()) {
      if (index === 0) continue
      this.add({
        name,
        backend,
        size,
        unit: "ms",
        measured: spread(samples[0]),
        against: contender.name,
        floor: spread(samples[index]),
        ratio: ratio(samples[0], samples[index]),
        target: index === 1 ? target : peerTarget(contender.name)
      })
    }
    return samples
  }

  /** Measures how much each contender gets done in a second: the first one, and a row for each of the others. */
  async throughput(options: {
    readonly name: string
    readonly backend: string
    readonly size: number
    /** What is done, in the plural. */
    readonly unit: string
    /** How much of it is done by one run. */
    readonly count: number
    readonly contenders: readonly [
      library: Contender,
      ...others: ReadonlyArray<
        Contender & {
          readonly target?: number | undefined
          /** How much of it this one does by a run, if not as much. */
          readonly count?: number | undefined
        }
      >
    ]
  }): Promise<void> {
    const { backend, contenders, count, name, size, unit } = options
    const samples = await interleave(contenders, this.effort)
    const perSecond = (samples: Samples) => spread(samples.map((millis) => count * 1_000 / millis))
    const [, ...others] = contenders
    for (const [index, { count: own = count, name: against, target }] of others.entries()) {
      const comparable = samples[index + 1].map((millis) => millis * count / own)
      this.add({
        name,
        backend,
        size,
        unit: `${unit}/s`,
        measured: perSecond(samples[0]),
        against,
        floor: perSecond(comparable),
        ratio: ratio(comparable, samples[0]),
        target,
        higherIsBetter: true
      })
    }
  }
}
