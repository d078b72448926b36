#!/usr/bin/env node
// `npx effect-eventsourcing`. The packages that only the command line needs may be missing.
import { readFileSync } from "node:fs"

const packages = [
  "@effect/cli@0.77",
  "@effect/printer@0.51",
  "@effect/printer-ansi@0.51",
  "@effect/platform-node@0.108"
]

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
    NodeRuntime.runMain({ disableErrorReporting: false })
  )
}

start().catch((error: unknown) => {
  const isMissing = error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND"
  process.stderr.write(
    isMissing ? `The command line needs more packages: npm install ${packages.join(" ")}\n` : `${String(error)}\n`
  )
  process.exitCode = 1
})
