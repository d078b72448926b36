import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

/** What a command prints. It fails with all that it printed. */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  cwd: string,
  env: Readonly<Record<string, string>> = {}
): Promise<string> =>
  new Promise((resolve, reject) =>
    childProcess.execFile(
      command,
      args,
      { cwd, encoding: "utf8", maxBuffer: 64 * 1024 * 1024, env: { ...process.env, ...env } },
      (error, stdout, stderr) =>
        error === null
          ? resolve(stdout)
          : reject(new Error(`${command} ${args.join(" ")}: ${error.message}\n${stdout}\n${stderr}`))
    )
  )

/**
 * Packs this package, by a build of its own: tests that run at the same time may not see a half written dist. A build that
 * does not check the types takes half as long.
 */
export const pack = async (folder: string, options: { readonly checked: boolean }): Promise<string> => {
  const copy = path.join(folder, "source")
  fs.mkdirSync(copy)
  for (const name of fs.readdirSync(root)) {
    if (name === "src" || name === "package.json" || /^(README|LICENSE|CHANGELOG|tsconfig)/.test(name)) {
      fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true })
    }
  }
  fs.symlinkSync(path.join(root, "node_modules"), path.join(copy, "node_modules"))
  if (!options.checked) {
    await run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", "--noCheck"], copy)
  }
  await run("npm", ["pack", "--silent", ...options.checked ? [] : ["--ignore-scripts"]], copy)
  const [file] = fs.readdirSync(copy).filter((name) => name.endsWith(".tgz"))
  return path.join(copy, file)
}
