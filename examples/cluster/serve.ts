// Starts the cluster, says how to try it, and starts a runner again that ended.
import { Console, Effect } from "effect"
import * as Topology from "./topology.js"

export const serve = Effect.gen(function*() {
  const { database, runners, url } = yield* Topology.start((name, line) => console.log(`${name}: ${line}`))
  const table = runners.map(({ address, name, pid }) => `  ${name} at ${address}, process ${pid()}`).join("\n")
  yield* Console.log(`
The shop is at ${url}, its API at ${url}/docs. Its requests are those of the README.
${table}
  PostgreSQL at ${database}
Stop a runner with kill, kill -9, or kill -STOP and kill -CONT: the shop goes on. A runner that ended is started again
after twenty seconds. Ctrl-C ends all.
`)
  yield* Effect.forEach(
    runners,
    ({ exited, name, pid, start }) =>
      Effect.forever(Effect.gen(function*() {
        yield* exited
        yield* Console.log(`${name} ended`)
        yield* Effect.sleep("20 seconds")
        yield* start
        yield* Console.log(`${name} was started again as process ${pid()}`)
      })),
    { concurrency: "unbounded", discard: true }
  )
})
