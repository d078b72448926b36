#!/usr/bin/env node
// `npx effect-eventsourcing`. The packages that only the command line needs may be missing.
import { readFileSync } from "node:fs"

const packages = [
  "@effect/cli@0.77",
  "@effect/printer@0.51",
  "@effect/printer-ansi@0.51",
  "@effect/platform-node@0.108"
]

// The console ignores these errors. A command would read on for a reader that is gone, and an export to a full disk
// would end with 0.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(141) // as a program that SIGPIPE ends
  process.stderr.write(`effect-eventsourcing: the output cannot be written, and is not complete: ${error.message}\n`)
  process.exit(1)
})

const start = async (): Promise<void> => {
  const [{ run }, NodeContext, NodeRuntime, Effect] = await Promise.all([
    import("../internal/cli/program.js"),
    import("@effect/platform-node/NodeContext"),
    import("@effect/platform-node/NodeRuntime"),
    import("effect/Effect")
  ])
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
  run(process.argv, version).pipe(
    Effect.map((code) => {
      process.exitCode = code
    }),
    Effect.provide(NodeContext.layer),
    // its logger prints to the output, which is for programs
    NodeRuntime.runMain({ disablePrettyLogger: true })
  )
}

start().catch((error: unknown) => {
  const isMissing = error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND"
  process.stderr.write(
    isMissing ? `The command line needs more packages: npm install ${packages.join(" ")}\n` : `${String(error)}\n`
  )
  process.exitCode = 1
})
