import * as esbuild from "esbuild"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Compiles a program of this project into one file: a process that has to load hundreds takes a second to start. */
export const compile = async (file: string): Promise<string> => {
  const { dir, name } = path.parse(path.join(root, file))
  const outfile = path.join(dir, ".build", `${name}-${process.pid}-${crypto.randomUUID().slice(0, 8)}.mjs`)
  await esbuild.build({
    entryPoints: [path.join(root, file)],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["better-sqlite3", "pg-native"],
    tsconfig: path.join(root, "tsconfig.json"),
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" },
    logLevel: "error"
  })
  return outfile
}
