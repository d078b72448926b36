import { fileURLToPath } from "node:url"
import { configDefaults, defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src/", import.meta.url))

// `npm test` is short and meets every backend; `npm run test:all` is `vitest run --mode all`
export default defineConfig(({ mode }) => ({
  resolve: {
    alias: [
      { find: /^effect-eventsourcing$/, replacement: `${src}index.ts` },
      { find: /^effect-eventsourcing\/testing$/, replacement: `${src}testing/index.ts` },
      { find: /^effect-eventsourcing\/(.+)$/, replacement: `${src}$1.ts` }
    ]
  },
  test: {
    globalSetup: ["test/utils/globalSetup.ts"],
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    exclude: [...configDefaults.exclude, ...(mode === "all" ? [] : ["**/*.long.test.ts"])],
    reporters: ["default", "./test/utils/slowest.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
}))
