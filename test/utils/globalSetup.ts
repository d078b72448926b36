import { Effect, Exit, Layer, Scope } from "effect"
import type { TestProject } from "vitest/node"
import { compile } from "./compile.js"
import { pgClient, startServer, temporaryDatabase } from "./postgres.js"
import { sqlStores } from "./stores.js"

declare module "vitest" {
  interface ProvidedContext {
    readonly postgres: string
    /** A database with the tables of the stores, which others are copies of. */
    readonly template: string
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

/** One server a run: the user's own in `TEST_DATABASE_URL`, or one that is started and removed. */
export default async (project: TestProject) => {
  const given = process.env.TEST_DATABASE_URL ?? ""
  const [server] = await Promise.all([given === "" ? startServer() : undefined, compile()])
  const url = server?.url ?? given
  const scope = Effect.runSync(Scope.make())
  project.provide("postgres", url)
  project.provide(
    "template",
    process.env.SEED !== undefined ? "" : await Effect.runPromise(Scope.extend(migrated(url), scope))
  )
  return async () => {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    await server?.close()
  }
}
