import * as esbuild from "esbuild"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Subject } from "./simulation.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
// several files plant at once
const folder = path.join(root, "test", ".planted", crypto.randomUUID())

/** Changes to a file of the library. */
export interface Bug {
  readonly name: string
  readonly file: string
  readonly changes: ReadonlyArray<readonly [from: string, to: string]>
}

/** A copy of the library with the bug in it. */
export const plant = async ({ changes, file, name }: Bug): Promise<Subject> => {
  const source = changes.reduce((source, [from, to]) => {
    if (source.split(from).length !== 2) throw new Error(`the bug "${name}" no longer fits ${file}: ${from}`)
    return source.replace(from, () => to)
  }, fs.readFileSync(path.join(root, "src", file), "utf8"))
  const outfile = path.join(folder, `${name.replaceAll(/[^a-z]/g, "-")}.mjs`)
  await esbuild.build({
    entryPoints: [path.join(root, "test", "simulation", "library.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    logLevel: "error",
    plugins: [{
      name: "plant",
      setup: (build) =>
        build.onLoad({ filter: new RegExp(`src/${file.replaceAll(".", "\\.")}$`) }, () => ({
          contents: source,
          loader: "ts"
        }))
    }]
  })
  return import(pathToFileURL(outfile).href)
}

export const clear = () => fs.rmSync(folder, { recursive: true, force: true })
