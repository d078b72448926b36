import { Effect, Exit, Layer, Scope } from "effect"
import type { TestProject } from "vitest/node"
import { compile } from "./compile.js"
import { pgClient, startServer, temporaryDatabase } from "./postgres.js"
import { sqlStores } from "./stores.js"

declare module "vitest" {
  interface ProvidedContext {
    /** The servers of the workers, and on each the database that others are copies of. */
    readonly postgres: ReadonlyArray<{ readonly url: string; readonly template: string }>
    /** Whether this is `npm run test:all`. */
    readonly everything: boolean
  }
}

const migrated = (server: string) =>
  Effect.gen(function*() {
    const url = yield* temporaryDatabase(server)
    yield* Effect.scoped(Layer.build(Layer.provide(sqlStores, pgClient(url))))
    return new URL(url).pathname.slice(1)
  })

/** One server a worker, which is started and removed, or the user's own in `TEST_DATABASE_URL`. */
export default async (project: TestProject) => {
  const given = process.env.TEST_DATABASE_URL ?? ""
  const workers = Number(project.config.maxWorkers ?? 1)
  const starting = given === "" ? Array.from({ length: workers }, () => startServer()) : []
  const [servers] = await Promise.all([Promise.all(starting), compile()])
  const urls = given === "" ? servers.map(({ url }) => url) : [given]
  const scope = Effect.runSync(Scope.make())
  project.provide(
    "postgres",
    await Promise.all(urls.map(async (url) => ({
      url,
      template: process.env.SEED !== undefined ? "" : await Effect.runPromise(Scope.extend(migrated(url), scope))
    })))
  )
  return async () => {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    await Promise.all(servers.map((server) => server.close()))
  }
}
