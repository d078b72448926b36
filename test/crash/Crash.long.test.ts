import { SqlClient } from "@effect/sql"
import { Effect } from "effect"
import { EventStore, ExpectedVersion, SnapshotStore, StreamId } from "effect-eventsourcing"
import { assert, describe, it } from "vitest"
import { eventId } from "./protocol.js"
import { Book, check, runVariant, sqliteDatabase, variants } from "./rounds.js"

describe("a short round of each; `npm run crash` does 1,300 kills", () => {
  for (const variant of variants) {
    it(variant.name, async () => {
      const seed = Math.floor(Math.random() * 2 ** 31)
      const { acknowledged, groups, kills, problems } = await runVariant(variant, { kills: 3, seed })
      assert.deepStrictEqual(problems, [], `seed ${seed}`)
      assert.strictEqual(kills, 3)
      assert.isAbove(acknowledged, 0)
      if (variant.groups === true) assert.isAbove(groups, 0)
    })
  }
})

describe("the check finds", () => {
  const finds = (
    name: string,
    says: string | undefined,
    tamper: (book: Book) => Effect.Effect<unknown, unknown, SqlClient.SqlClient | EventStore.EventStore>
  ) =>
    it(name, async () => {
      const database = sqliteDatabase("NORMAL")
      const book = new Book()
      try {
        await Effect.runPromise(
          Effect.gen(function*() {
            const events = yield* EventStore.EventStore
            const stream = StreamId.make("Account", "s1")
            const append = (command: string, from: number, payloads: ReadonlyArray<{ readonly _tag: string }>) =>
              Effect.zipRight(
                events.append(
                  stream,
                  payloads.map((payload, n) => ({
                    id: eventId(command, payloads.length, n + 1),
                    type: payload._tag,
                    payload
                  })),
                  { expectedVersion: ExpectedVersion.exact(from - 1) }
                ),
                Effect.sync(() =>
                  book.ok.push({ _tag: "Ok", command, stream: "s1", from, to: from + payloads.length - 1 })
                )
              )
            const deposit = { _tag: "Deposited", amount: 1 }
            yield* append("a.1", 1, [{ _tag: "Opened" }])
            yield* append("a.2", 2, [deposit, deposit])
            yield* append("a.3", 4, [deposit])
            const snapshots = yield* SnapshotStore.SnapshotStore
            yield* snapshots.save({
              stream,
              version: 3,
              eventId: eventId("a.2", 2, 2),
              schemaVersion: 1,
              fingerprint: "of nothing",
              state: "{}",
              time: 0
            })
            yield* tamper(book)
            yield* check(book, database.integrity)
          }).pipe(Effect.scoped, Effect.provide(database.layer))
        )
        const others = book.problems.filter((problem) => !problem.includes("was not used"))
        if (says === undefined) assert.deepStrictEqual(others, [])
        else assert.isTrue(others.some((problem) => problem.includes(says)), book.problems.join("\n"))
      } finally {
        await database.remove()
      }
    })

  const run = (statement: string) => () => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement))

  finds("nothing wrong where nothing is", undefined, () => Effect.void)
  finds(
    "an acknowledged event that is lost",
    "a.3 was acknowledged as s1 4, where nothing stands",
    run("DELETE FROM eventsourcing_events WHERE version = 4")
  )
  finds(
    "half of an append",
    "1 of the 2 events of a.2 are there",
    run("DELETE FROM eventsourcing_events WHERE version = 3")
  )
  finds(
    "a hole in the versions",
    "s1 has version 3 in place 2",
    run("DELETE FROM eventsourcing_events WHERE version = 2")
  )
  finds(
    "a snapshot ahead of its stream",
    "the snapshot of s1 at 9 is ahead",
    run("UPDATE eventsourcing_snapshots SET version = 9")
  )
  finds(
    "a snapshot of another history",
    "the snapshot of s1 is of another history",
    run("UPDATE eventsourcing_snapshots SET event_id = 'x'")
  )
  finds(
    "a command that was refused and done",
    "a.3 was refused and is there: planned",
    (book) => Effect.sync(() => book.refused.set("a.3", "planned"))
  )
  finds(
    "a state that is not the sum",
    "s1 at 4 has",
    run(`UPDATE eventsourcing_events SET payload = '{"_tag":"Deposited","amount":7}' WHERE version = 4`)
  )
})
