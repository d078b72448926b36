// snapshots of other schema versions in a stream whose beginning was removed
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { Repository, SnapshotPolicy, Streams } from "effect-eventsourcing"
import { deposit, id, open, stream } from "./fixtures/Account.js"
import { AccountV2, AccountV3 } from "./fixtures/AccountVersions.js"
import { backends, on } from "./utils/backends.js"

const a = id("a")

const manual = { snapshots: SnapshotPolicy.manual }

describe("a new schema version that was deployed, rolled back and deployed again", () => {
  for (const events of ["archive", "remove"] as const) {
    on(backends)(
      `migrates the snapshot below which the stream was truncated meanwhile (${events})`,
      () =>
        Effect.gen(function*() {
          const before = yield* Repository.make(AccountV2, manual)
          const after = yield* Repository.make(AccountV3, manual)
          const streams = yield* Streams.Streams
          yield* before.executeAll(a, [open, deposit(1), deposit(2)])
          yield* after.createSnapshot(a)
          yield* before.executeAll(a, [deposit(3), deposit(4)])
          const { state } = yield* after.load(a)
          yield* before.createSnapshot(a)
          yield* streams.truncate(stream("a"), { aggregate: AccountV2, before: 6, events })
          assert.deepStrictEqual((yield* after.load(a)).state, state)
        }).pipe(Effect.provide(Streams.layer))
    )
  }
})
