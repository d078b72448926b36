import { start } from "../test/utils/process.js"
import type { Backend } from "./backend.js"
import { seed, streamOf } from "./fixtures.js"
import { ratio, spread } from "./measure.js"
import type { Suite } from "./suite.js"

/** What a replay of a long stream takes in memory beside one of ten thousand events, in a process of its own. */
export const memory = async (
  suite: Suite,
  backend: Backend,
  options: { readonly events: number; readonly limit: number; readonly times: number }
): Promise<void> => {
  const { events, limit, times } = options
  const name = "full replay: memory beside that of 10,000 events"
  if (!suite.wants(name, backend.name)) return
  await backend.runtime.runPromise(seed(streamOf("length-10000"), 10_000))
  await backend.runtime.runPromise(seed(streamOf(`length-${events}`), events))
  const extra: Array<number> = []
  for (let i = 0; i < times; i++) {
    const child = start("bench/memory.ts", [backend.name, backend.database, "length-10000", `length-${events}`])
    const result = JSON.parse(await child.next((line) => line.startsWith("{")))
    if (result.replayed !== events) throw new Error(`${result.replayed} events were replayed, not ${events}`)
    extra.push(result.extra)
    child.child.kill()
    await child.exited
  }
  suite.add({
    name,
    backend: backend.name,
    size: events,
    unit: "MB",
    measured: spread(extra),
    against: "the limit",
    floor: spread([limit]),
    ratio: spread(extra.map((megabytes) => megabytes / limit)),
    target: 1
  })
}

/** Sixteen processes on one SQLite file. */
export const writers = async (
  suite: Suite,
  backend: Backend,
  options: { readonly target: number; readonly rounds: number }
): Promise<void> => {
  const name = "16 writing processes on one file"
  if (!suite.wants(name, backend.name)) return
  const count = 16
  const each = 500
  const warmUp = 3_000
  const children = Array.from({ length: count }, (_, i) => start("bench/writer.ts", [backend.database, `process-${i}`]))
  try {
    await Promise.all(children.map((child) => child.line("ready")))
    const round = async (kind: "library" | "driver", appends: number) => {
      const start = performance.now()
      await Promise.all(children.map(async (child) => {
        child.lines.length = 0
        child.tell(`${kind} ${appends}`)
        const answer = await child.next(() => true)
        if (answer !== "done") throw new Error(`${kind}: ${answer}`)
      }))
      return performance.now() - start
    }
    const samples = { library: new Array<number>(), driver: new Array<number>() }
    // after some thousand appends the code of a process is compiled, as that of any that has run for a while
    for (const kind of ["library", "driver"] as const) await round(kind, warmUp)
    for (let i = 0; i < options.rounds; i++) {
      for (const kind of i % 2 === 0 ? ["library", "driver"] as const : ["driver", "library"] as const) {
        samples[kind].push(await round(kind, each))
      }
    }
    const perSecond = (millis: number) => count * each * 1_000 / millis
    suite.add({
      name,
      backend: backend.name,
      size: 1,
      unit: "appends/s",
      measured: spread(samples.library.map(perSecond)),
      against: "driver",
      floor: spread(samples.driver.map(perSecond)),
      ratio: ratio(samples.driver, samples.library),
      target: options.target,
      higherIsBetter: true
    })
  } finally {
    for (const { child } of children) child.stdin.end()
    await Promise.all(children.map((child) => child.exited))
  }
}
