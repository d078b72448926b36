import { assert, describe, it } from "@effect/vitest"
import * as esbuild from "esbuild"
import * as path from "node:path"
import * as vm from "node:vm"
import { nodeVersion, platformProblem } from "../../src/internal/platform.js"
import { fingerprint } from "../../src/internal/schema/fingerprint.js"
import { AccountState } from "../fixtures/Account.js"
import { root } from "../utils/npm.js"

const program = (imports: string) => `
import { Effect, Layer, Metric } from "effect"
${imports}
import { Account, AccountId, AccountState } from "./test/fixtures/Account.ts"

const program = Effect.gen(function*() {
  const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 2 }) })
  const id = AccountId.make("ada")
  yield* accounts.execute(id, { _tag: "Open" })
  yield* accounts.execute(id, { _tag: "Deposit", amount: 10 })
  yield* accounts.awaitPendingSnapshots
  const refused = yield* Effect.flip(accounts.execute(id, { _tag: "Withdraw", amount: 50 }))
  const { snapshotVersion, state, version } = yield* accounts.load(id)
  return { refused: refused._tag, snapshotVersion, balance: state.balance, version, fingerprint: Account.fingerprint }
})
const stores = Layer.merge(EventStore.layerMemory, SnapshotStore.layerMemory)
globalThis.result = Effect.runPromise(Effect.scoped(Effect.provide(program, stores))).then(JSON.stringify)
`

const barrel = `import { EventStore, Repository, SnapshotPolicy, SnapshotStore } from "effect-eventsourcing"`
const leaves = ["EventStore", "Repository", "SnapshotPolicy", "SnapshotStore"]
  .map((module) => `import * as ${module} from "effect-eventsourcing/${module}"`).join("\n")

/** Nothing is external: a module of Node.js that is left in the bundle is an error of esbuild's. */
const bundle = async (code: string): Promise<string> => {
  const { outputFiles, warnings } = await esbuild.build({
    stdin: { contents: code, resolveDir: root, loader: "ts" },
    absWorkingDir: root,
    tsconfig: path.join(root, "tsconfig.json"),
    bundle: true,
    write: false,
    platform: "browser",
    format: "iife",
    target: "es2022",
    logLevel: "silent"
  })
  assert.deepStrictEqual(warnings, [])
  return outputFiles[0].text
}

/** What a browser has and the language alone has not; nothing of Node.js. */
const browser = () => ({
  AbortController,
  TextDecoder,
  TextEncoder,
  URL,
  clearInterval,
  clearTimeout,
  console,
  crypto: globalThis.crypto,
  performance,
  queueMicrotask,
  setInterval,
  setTimeout
})

describe("a bundle for the browser", () => {
  for (const [name, imports] of [["the package", barrel], ["single modules", leaves]] as const) {
    it(`of ${name} executes, loads and takes snapshots`, async () => {
      const context = vm.createContext(browser())
      assert.strictEqual(
        vm.runInContext("typeof process + typeof Buffer + typeof require", context),
        "undefined".repeat(3)
      )
      vm.runInContext(await bundle(program(imports)), context)
      const printed: unknown = JSON.parse(await vm.runInContext("result", context))
      assert.deepStrictEqual(printed, {
        refused: "InsufficientFunds",
        snapshotVersion: 2,
        balance: 10,
        version: 2,
        fingerprint: fingerprint(AccountState)
      })
    })
  }
})

describe("a Node.js that is too old", () => {
  it("is named in an error, with the version that is required", () => {
    for (const version of ["18.20.8", "16.0.0", "20.18.3", "20.0.0", "21.7.3", "22.0.0", "22.2.0", "22.11.0"]) {
      const problem = platformProblem(version)
      assert.include(problem?.message, `is ${version}; it must be 20.19, or 22.12 or newer`)
    }
    for (const version of ["20.19.0", "20.20.2", "22.12.0", "23.0.0", "26.1.0", "v?", undefined]) {
      assert.isUndefined(platformProblem(version))
    }
    assert.strictEqual(nodeVersion(), process.versions.node)
  })
})
