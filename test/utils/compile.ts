import * as esbuild from "esbuild"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** The programs that tests start as processes. */
const programs = [
  ...["ctrl-c", "file-limit", "hold-lock", "importHistory", "increment", "rival", "appender", "projector"].map((name) =>
    `test/utils/${name}.ts`
  ),
  "test/crash/writer.ts",
  "test/crash/streams/worker.ts",
  "test/soak/writers.ts",
  "examples/tutorial.ts",
  "examples/swap-backends.ts",
  // a project with the oldest peers has not what this needs
  ...(["platform-node", "opentelemetry"].every((name) => fs.existsSync(path.join(root, "node_modules/@effect", name)))
    ? ["examples/shop/main.ts", "examples/cluster/main.ts"]
    : []),
  ...(["platform-node", "cluster"].every((name) => fs.existsSync(path.join(root, "node_modules/@effect", name)))
    ? ["test/crash/cluster/runner.ts", "test/crash/cluster/client.ts", "test/erasure/child.ts"]
    : [])
]

/**
 * Compiles the programs in one go, each into one file: a process that has to load hundreds takes a second to start. The
 * files last as long as this process.
 */
export const compile = async (): Promise<void> => {
  const outdir = path.join(root, "test", ".build", crypto.randomUUID())
  process.once("exit", () => fs.rmSync(outdir, { recursive: true, force: true }))
  await esbuild.build({
    entryPoints: programs.map((file) => path.join(root, file)),
    outdir,
    outbase: root,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    external: ["better-sqlite3", "pg-native"],
    tsconfig: path.join(root, "tsconfig.json"),
    banner: {
      js: "import { createRequire as $requireOf } from 'node:module'; const require = $requireOf(import.meta.url)"
    },
    logLevel: "error"
  })
  process.env.COMPILED_PROGRAMS = outdir
}

/** The arguments that make Node.js run a program of this project, compiled if it is. */
export const nodeArguments = (program: string): ReadonlyArray<string> => {
  const compiled = path.join(process.env.COMPILED_PROGRAMS ?? "", program.replace(/ts$/, "mjs"))
  return path.isAbsolute(compiled) && fs.existsSync(compiled)
    ? [compiled]
    : ["--import", "tsx", path.join(root, program)]
}
