import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src/", import.meta.url))

export default defineConfig({
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
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})
