// the processes of a cluster, as the test starts and ends them
import { Effect } from "effect"
import { freePort } from "../../cluster/fixture.js"
import { start } from "../../utils/process.js"
import type { ClientOrders, RunnerOrders, Said } from "./protocol.js"
import type { Settings } from "./settings.js"

export const pause = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/** Fails if it takes longer than any disturbance explains. */
export const within = async <A>(millis: number, what: string, promise: Promise<A>): Promise<A> => {
  let late: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    late = setTimeout(() => reject(new Error(`${what}: not within ${millis} ms`)), millis)
  })
  try {
    return await Promise.race([promise, limit])
  } finally {
    clearTimeout(late)
  }
}

// -------------------------------------------------------------------------------------
// runners
// -------------------------------------------------------------------------------------

/** The place of a runner, which is started again and again. */
export interface Place {
  port: number
  runner: ReturnType<typeof start> | undefined
  /** Whether it is being killed, frozen or started. */
  disturbed: boolean
}

export const makePlace = async (): Promise<Place> => ({
  port: await Effect.runPromise(freePort),
  runner: undefined,
  disturbed: false
})

/** Starts a runner. It cannot start while the server is stopped, so it tries again. */
export const startRunner = async (place: Place, database: string, settings: Settings): Promise<void> => {
  for (let tries = 1;; tries++) {
    const orders: RunnerOrders = { database, settings, port: place.port }
    const runner = start("test/crash/cluster/runner.ts", [JSON.stringify(orders)])
    place.runner = runner
    try {
      await within(60_000, "a runner starts", runner.line("ready"))
      return
    } catch (error) {
      runner.child.kill("SIGKILL")
      await runner.exited
      if (tries === 20) throw error
      await pause(200)
    }
  }
}

export const stopRunner = async ({ runner }: Place): Promise<void> => {
  runner?.child.kill("SIGKILL")
  await runner?.exited
}

// -------------------------------------------------------------------------------------
// the client
// -------------------------------------------------------------------------------------

export const startClient = (orders: ClientOrders) => {
  const client = start("test/crash/cluster/client.ts", [JSON.stringify(orders)])
  const said = (): ReadonlyArray<Said> =>
    // the last line may be cut off in the middle
    client.lines.flatMap((line): ReadonlyArray<Said> => line.endsWith("}") ? [JSON.parse(line)] : [])
  /** Tells it to do something, and waits until it says that it is done. */
  const done = (order: "pause" | "sweep", tag: "Paused" | "Swept") =>
    within(
      150_000,
      `the client says ${tag}`,
      new Promise<void>((resolve, reject) => {
        const line = JSON.stringify({ _tag: tag })
        client.onLine(() => client.lines.at(-1) === line && resolve())
        void client.exited.then(() => reject(new Error(`the client ended: ${client.errors()}`)))
        client.tell(order)
      })
    )
  return {
    said,
    ready: () => client.next((line) => line.includes("Ready")),
    errors: client.errors,
    go: () => client.tell("go"),
    /** Waits until all calls are answered. */
    pause: () => done("pause", "Paused"),
    /** Loads all ids. */
    sweep: () => done("sweep", "Swept"),
    stop: async () => {
      client.child.kill("SIGKILL")
      await client.exited
    },
    hasEnded: () => client.child.exitCode !== null
  }
}

export type Client = ReturnType<typeof startClient>
