import { inject } from "vitest"

// a server for each worker: an open transaction holds the feed of every database of its server back
const chosen = <A>(servers: ReadonlyArray<A>): A => servers[Number(process.env.VITEST_POOL_ID ?? 1) % servers.length]

/** The URL of the PostgreSQL server of this worker. */
export const postgresUrl = (): string => chosen(inject("postgres")).url

/** The database with the tables of the stores on that server, which others are copies of. */
export const template = (): string => chosen(inject("postgres")).template
