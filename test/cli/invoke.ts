import { NodeContext } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { run } from "../../src/internal/cli/program.js"

export interface Invoked {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs the command line in this process, and collects what it prints. */
export const invoke = (...args: ReadonlyArray<string>): Effect.Effect<Invoked> =>
  Effect.gen(function*() {
    const out: Array<string> = []
    const err: Array<string> = []
    const real = yield* Console.consoleWith(Effect.succeed)
    const write = (lines: Array<string>) => (...texts: ReadonlyArray<unknown>) =>
      Effect.sync(() => void lines.push(texts.map(String).join(" ")))
    const code = yield* run(["node", "effect-eventsourcing", ...args], "0.0.0").pipe(
      Effect.withConsole({ ...real, log: write(out), error: write(err) }),
      Effect.provide(NodeContext.layer)
    )
    return { code, out: out.join("\n"), err: err.join("\n") }
  })

/** The lines of a JSON output. */
export const jsonOf = ({ out }: Invoked): ReadonlyArray<Record<string, unknown>> =>
  out === "" ? [] : out.split("\n").map((line) => JSON.parse(line))
