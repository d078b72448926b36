import type { TestProject } from "vitest/node"
import { startServer } from "./postgres.js"

declare module "vitest" {
  interface ProvidedContext {
    readonly postgres: string
  }
}

/** One server a run: the user's own in `TEST_DATABASE_URL`, or one that is started and removed. */
export default async (project: TestProject) => {
  const url = process.env.TEST_DATABASE_URL
  if (url !== undefined && url !== "") {
    project.provide("postgres", url)
    return
  }
  const server = await startServer()
  project.provide("postgres", server.url)
  return server.close
}
