import { SqlClient } from "@effect/sql"
import { Effect, Exit, Scope } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { migratedDatabase } from "../utils/backends.js"
import { everything } from "../utils/mode.js"
import { pgClient } from "../utils/postgres.js"
import { isFound } from "./bugs.js"
import { inGroups, inGroupsOnServer } from "./groupBugs.js"
import { type GroupsDatabase, simulateGroups, simulateGroupsOn } from "./groups.js"
import * as Library from "./library.js"
import { clear, plant } from "./planted.js"
import { breathe, chosen, explain, from, only } from "./seeds.js"
import type { Report } from "./simulation.js"

const kinds = ["stored", "repeat", "interrupted", "VersionConflict", "DuplicateEventId", "EventStoreError", "faults"]

const suite = (name: string, seeds: ReadonlyArray<number>, simulate: (seed: number) => Report | Promise<Report>) =>
  it(`${name}, seeds ${seeds[0]} to ${seeds.at(-1)}`, async () => {
    const total: Record<string, number> = {}
    for (const seed of only > 0 ? [only] : seeds) {
      await breathe()
      const report = await simulate(seed)
      for (const [name, n] of Object.entries(report.counts)) total[name] = (total[name] ?? 0) + n
      if (only > 0) console.log(explain(seed, report))
      if (report.problems.length > 0) throw new Error(explain(seed, report))
    }
    if (seeds.length < 20 || only > 0) return
    for (const what of kinds) assert.isAbove(total[what] ?? 0, 0, what)
  })

describe("a simulation of appends in groups", () => {
  suite("on SQLite", chosen(everything ? 200 : 5), (seed) => simulateGroups(Library, seed))

  it("the same seed gives the same run", () => {
    for (const seed of from(1, 5)) assert.deepStrictEqual(simulateGroups(Library, seed), simulateGroups(Library, seed))
  })
})

describe("on a server", () => {
  const scope = Effect.runSync(Scope.make())
  let database: GroupsDatabase | undefined
  beforeAll(async () => {
    const url = await Effect.runPromise(Scope.extend(migratedDatabase, scope))
    const client = pgClient(url, { maxConnections: 12 })
    await Effect.runPromise(Effect.provide(
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) =>
          sql.unsafe(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'refused'; END $$`).pipe(Effect.zipRight(
            sql.unsafe(`CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_events
FOR EACH ROW WHEN (NEW.stream_id LIKE '%-bad') EXECUTE FUNCTION refuse()`)
          ))
      ),
      client
    ))
    database = { dialect: "postgres", client: (_subject, faulty) => faulty(client), prepare: Effect.void }
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  suite("on PostgreSQL", chosen(everything ? 80 : 2), (seed) => simulateGroupsOn(Library, seed, database!))

  for (const { seed, ...bug } of inGroupsOnServer) {
    it.runIf(everything)(`a planted bug is found: ${bug.name}`, async () => {
      const subject = await plant(bug)
      for (const each of from(1_000, 100)) {
        if ((await simulateGroupsOn(subject, each, database!)).problems.length > 0) return
      }
      assert.fail("no seed finds it")
    })
  }
})

describe("a planted bug in the groups is found", () => {
  beforeAll(clear)
  afterAll(clear)

  for (const [index, { seed, ...bug }] of inGroups.entries()) {
    it.runIf(everything || (index < 1 && seed !== undefined))(bug.name, async () => {
      await isFound(simulateGroups, await plant(bug), { seed })
    })
  }
})
