/** Does the work so many times. */
export type Work = (times: number) => void | Promise<void>

export interface Contender {
  readonly name: string
  readonly run: Work
  /** What has to be done after each run: every run is timed by itself then. */
  readonly after?: (() => Promise<void>) | undefined
}

export interface Effort {
  /** How many samples of every contender are taken, if the budget allows. */
  readonly rounds: number
  readonly leastRounds: number
  /** How long a sample should take. */
  readonly sampleMillis: number
  /** How long one contender is warmed up: a command runs through code that takes thousands of runs to be compiled. */
  readonly warmUpMillis: number
  /** How long all samples of one row should take. */
  readonly budgetMillis: number
}

export const full: Effort = {
  rounds: 41,
  leastRounds: 9,
  sampleMillis: 20,
  warmUpMillis: 1_500,
  budgetMillis: 12_000
}

export const quick: Effort = { rounds: 11, leastRounds: 3, sampleMillis: 6, warmUpMillis: 300, budgetMillis: 900 }

/** Milliseconds for one run, round by round. */
export type Samples = ReadonlyArray<number>

/**
 * Measures contenders in turn, one sample of each in every round, so that what slows the machine down for a while slows
 * all of them. The order rotates. Where all samples are long the heap is collected before each of them, if the process
 * allows it, so that none pays for the garbage of another; short ones would pay for what a collection throws away.
 */
export const interleave = async (
  contenders: ReadonlyArray<Contender>,
  effort: Effort
): Promise<ReadonlyArray<Samples>> => {
  const collect = globalThis.gc ?? (() => {})
  const timed = async (run: Work, times: number) => {
    const start = performance.now()
    await run(times)
    return performance.now() - start
  }
  const sample = async ({ after, run }: Contender, times: number, collected = false) => {
    if (collected) collect()
    if (after === undefined) return timed(run, times)
    let millis = 0
    for (let i = 0; i < times; i++) {
      millis += await timed(run, 1)
      await after()
    }
    return millis
  }

  const plans: Array<{ readonly times: number; readonly millis: number }> = []
  for (const contender of contenders) {
    let count = 1
    let millis = await sample(contender, 1)
    for (const until = performance.now() + effort.warmUpMillis; performance.now() < until;) {
      const wanted = Math.ceil(effort.sampleMillis / (millis / count))
      count = Math.max(1, Math.min(wanted, count * 10))
      millis = await sample(contender, count)
    }
    plans.push({ times: count, millis })
  }

  const collected = plans.every(({ millis }) => millis > collectAbove)
  const roundMillis = plans.reduce((sum, { millis }) => sum + millis, 0)
  const rounds = Math.max(effort.leastRounds, Math.min(effort.rounds, Math.floor(effort.budgetMillis / roundMillis)))
  const samples = contenders.map((): Array<number> => [])
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (round + turn) % contenders.length
      const { times } = plans[index]
      samples[index].push(await sample(contenders[index], times, collected) / times)
    }
  }
  return samples
}

const collectAbove = 100

export const quantile = (values: ReadonlyArray<number>, at: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const place = (sorted.length - 1) * at
  const below = Math.floor(place)
  const above = Math.ceil(place)
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}

/** The median, and the middle half around it. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: quantile(values, 0.5),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75)
})

/** How many times as long the one took as the other, compared within each round. */
export const ratio = (samples: Samples, floor: Samples): Spread =>
  spread(samples.map((millis, round) => millis / floor[round]))
