import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { root } from "./npm.js"

/** What the compiler prints, run in a process of its own: it takes so long that the test runner would miss this one. */
export const tsc = (args: ReadonlyArray<string>, cwd = root): Promise<string> =>
  new Promise((resolve) =>
    childProcess.execFile(
      process.execPath,
      [path.join(root, "node_modules/typescript/bin/tsc"), "--pretty", "false", ...args],
      { cwd },
      (_, stdout) => resolve(stdout)
    )
  )

/** What the compiler says about modules in a folder under `test`, with the options of this project. */
export const complaints = async (
  folder: string,
  modules: Readonly<Record<string, string>>,
  options: Readonly<Record<string, unknown>> = {}
): Promise<string> => {
  fs.mkdirSync(folder, { recursive: true })
  for (const [name, code] of Object.entries(modules)) fs.writeFileSync(path.join(folder, name), code)
  const compilerOptions = { noUnusedLocals: false, rootDir: root, tsBuildInfoFile: "./.tsbuildinfo", ...options }
  const config = { extends: path.join(root, "tsconfig.json"), compilerOptions, include: ["./*.ts"] }
  fs.writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(config))
  return tsc(["-p", folder])
}
