// The rows of projections in several processes: how soon the read model of another process has an event, what an idle
// projection costs, and how long a partition is without an owner.
import { start } from "../test/utils/process.js"
import { newId } from "./fixtures.js"
import { spread } from "./measure.js"
import { appender, type Blocks, inBlocks, millisBetween, pause, seen, type Site, using } from "./projections.js"
import type { Suite } from "./suite.js"

const projector = async (
  { database }: Site,
  options: { readonly name: string; readonly partitions: number; readonly isWoken?: boolean }
) => {
  const process = start("bench/projector.ts", [JSON.stringify({ isWoken: false, ...options, database })])
  const checkpoint = seen()
  let taken = 0
  /** Reads the lines since the last call. */
  const read = () => {
    for (; taken < process.lines.length; taken++) {
      const [what, to, time] = process.lines[taken].split(" ")
      if (what === "at") checkpoint.note(to, BigInt(time))
    }
  }
  process.onLine(read)
  await process.line("ready")
  return { ...process, checkpoint, end: () => process.child.stdin.end() }
}

/** From the end of an append to the commit of the read model in another process. */
export const fromAnotherProcess = async (
  suite: Suite,
  site: Site,
  options: Blocks & { readonly warmUp: number; readonly target?: number | undefined; readonly isWoken: boolean }
): Promise<void> => {
  const { isWoken } = options
  const { name: backend } = site
  const [least, most] = isWoken ? [15, 30] : [100, 300]
  const name = `append to read model, another process, ${
    isWoken ? "woken" : "polling"
  }, an append every ${least} to ${most} ms`
  if (!suite.wants(name, backend)) return
  await using(site, { isWoken }, async (runtime) => {
    const stream = `other-process-${newId()}`
    const append = appender(runtime, stream)
    const other = await projector(site, { name: stream, partitions: 1, isWoken })
    try {
      const sample = async () => {
        await pause(least, most)
        const { end, millis, position } = await append()
        return [millisBetween(end, await other.checkpoint.until(position)), millis] as const
      }
      for (let i = 0; i < options.warmUp; i++) await sample()
      const result = await inBlocks(options, sample)
      suite.add({ ...result, name, backend, size: 1, unit: "ms", against: "an append", target: options.target })
    } finally {
      other.end()
      await other.exited
    }
  })
}

/** The part of a core that a process takes in which a projection has nothing to do. */
export const idle = async (
  suite: Suite,
  site: Site,
  options: { readonly seconds: number; readonly times: number }
): Promise<void> => {
  const nameOf = (partitions: number) => `idle, ${partitions === 1 ? "one partition" : `${partitions} partitions`}`
  for (const partitions of [1, 16]) {
    const name = nameOf(partitions)
    if (!suite.wants(name, site.name)) continue
    const cores = new Array<number>()
    const baseline = new Array<number>()
    for (const [count, percents] of [[partitions, cores], [0, baseline]] as const) {
      const one = await projector(site, { name: `idle-${newId()}`, partitions: count })
      // until all partitions are taken and have caught up
      await pause(3_000, 3_001)
      for (let i = 0; i < options.times; i++) {
        one.lines.length = 0
        one.tell(`cpu ${options.seconds}`)
        percents.push(Number((await one.next((line) => line.startsWith("cpu "))).split(" ")[1]))
      }
      one.end()
      await one.exited
    }
    suite.add({
      name,
      backend: site.name,
      size: partitions,
      unit: "% of a core",
      measured: spread(cores),
      against: "a process with the stores alone",
      floor: spread(baseline),
      ratio: spread(cores),
      target: 1
    })
  }
}

/** From the end of an owner until another process has handled the next event. */
export const failover = async (
  suite: Suite,
  site: Site,
  options: { readonly kills: number; readonly ends: number }
): Promise<void> => {
  const lease = 5_000
  for (const [how, times] of [["kill -9", options.kills], ["orderly end", options.ends]] as const) {
    const name = `failover after ${how}`
    if (!suite.wants(name, site.name)) continue
    const millis = new Array<number>()
    await using(site, {}, async (runtime) => {
      const subscription = `failover-${newId()}`
      const append = appender(runtime, subscription)
      let owner = await projector(site, { name: subscription, partitions: 1 })
      for (let i = 0; i < times; i++) {
        const { position } = await append()
        await owner.checkpoint.until(position)
        const next = await projector(site, { name: subscription, partitions: 1 })
        // at any time of its lease
        await pause(0, lease / 3)
        await append()
        const start = process.hrtime.bigint()
        if (how === "kill -9") owner.child.kill("SIGKILL")
        else owner.end()
        await owner.exited
        millis.push(millisBetween(start, await next.checkpoint.until((await append()).position)))
        owner = next
      }
      owner.end()
      await owner.exited
    })
    suite.add({
      name,
      backend: site.name,
      size: 1,
      unit: "ms",
      measured: spread(millis),
      against: "the lease",
      floor: spread([lease]),
      ratio: spread(millis.map((one) => one / lease)),
      target: 1
    })
  }
}
