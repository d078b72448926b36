import * as fs from "node:fs"
import * as os from "node:os"
import { fileURLToPath } from "node:url"
import { configDefaults, defineConfig } from "vitest/config"

/**
 * Databases of the tests are files that live for a second, and PostgreSQL makes one of them seven times faster in memory.
 * A folder in memory that is small, or from which nothing can be run, as in most containers, is left alone.
 */
const inMemory = (folder: string): boolean => {
  try {
    const { bavail, bsize } = fs.statfsSync(folder)
    const mount = fs.readFileSync("/proc/mounts", "utf8").split("\n").find((line) => line.split(" ")[1] === folder)
    return mount !== undefined && !mount.includes("noexec") && bavail * bsize > 4 * 2 ** 30
  } catch {
    return false
  }
}
if (process.env.TMPDIR === undefined && inMemory("/dev/shm")) process.env.TMPDIR = "/dev/shm"

const src = fileURLToPath(new URL("./src/", import.meta.url))

// `npm test` is short and meets every backend; `npm run test:all` is `vitest run --mode all`
export default defineConfig(({ mode }) => ({
  resolve: {
    alias: [
      { find: /^effect-eventsourcing$/, replacement: `${src}index.ts` },
      { find: /^effect-eventsourcing\/cluster$/, replacement: `${src}cluster/index.ts` },
      { find: /^effect-eventsourcing\/testing$/, replacement: `${src}testing/index.ts` },
      { find: /^effect-eventsourcing\/(.+)$/, replacement: `${src}$1.ts` }
    ]
  },
  test: {
    provide: { everything: mode === "all" },
    globalSetup: ["test/utils/globalSetup.ts"],
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...(mode === "all" ? [] : ["**/*.long.test.ts"])],
    reporters: ["default", "./test/utils/slowest.ts"],
    // two files at a time on two cores; a worker keeps its modules from one file to the next
    pool: "forks",
    isolate: false,
    minWorkers: 1,
    maxWorkers: Math.max(2, os.availableParallelism() - 1),
    // a test that hangs fails, and a slow machine fails none
    testTimeout: 300_000,
    hookTimeout: 300_000
  }
}))
