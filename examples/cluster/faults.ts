// Kills and freezes runners, and measures when every shard serves again.
import { Clock, Effect, Schedule } from "effect"
import type { Load, Part } from "./load.js"
import type { Runner, Topology } from "./topology.js"

export type Kind = "SIGTERM" | "SIGKILL" | "SIGSTOP"

export interface Outcome {
  readonly kind: Kind
  /** When the process was gone, in milliseconds after the signal. */
  readonly ended: number | undefined
  /** How long it took until each shard of the runner was served again, in milliseconds. */
  readonly recovered: number
  readonly part: Part
}

/** Asks for an order that does not exist, until the answer says so. The front itself waits for a runner. */
const untilServed = (url: string, id: string) =>
  Effect.tryPromise(async () => {
    const response = await fetch(`${url}/orders/${id}`)
    await response.arrayBuffer()
    return response.status
  }).pipe(
    Effect.orElseSucceed(() => undefined),
    Effect.repeat({ until: (status) => status === 404, schedule: Schedule.spaced("100 millis") })
  )

/**
 * Sends the signal, waits until each shard of the runner is served again, and brings the runner back. `probes` has the id
 * of an order in each shard.
 */
export const inflict = (
  { balanced, runners, shares, url }: Topology,
  load: Load,
  probes: ReadonlyMap<string, string>,
  kind: Kind,
  runner: Runner
): Effect.Effect<Outcome> =>
  Effect.gen(function*() {
    const lost = (yield* shares).get(runner.address) ?? []
    const part = yield* load.begin(`${kind} to ${runner.name} with ${lost.length} shards`)
    const began = yield* Clock.currentTimeMillis
    yield* runner.signal(kind)
    // until it has ended, it serves
    if (kind !== "SIGSTOP") yield* runner.exited
    const ended = kind === "SIGSTOP" ? undefined : (yield* Clock.currentTimeMillis) - began
    yield* Effect.forEach(lost, (shard) => untilServed(url, probes.get(shard) ?? shard), {
      concurrency: "unbounded",
      discard: true
    })
    const recovered = (yield* Clock.currentTimeMillis) - began
    yield* kind === "SIGSTOP" ? runner.signal("SIGCONT") : runner.start
    yield* balanced(runners)
    return { kind, ended, recovered, part }
  })
