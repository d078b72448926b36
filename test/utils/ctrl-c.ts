// executes commands for ever, with slow background snapshots, until it is interrupted as by Ctrl-C
import { makeRunMain } from "@effect/platform/Runtime"
import { Effect, Layer } from "effect"
import { EventStore, Repository, SnapshotPolicy, SnapshotStore } from "effect-eventsourcing"
import * as Context from "effect/Context"
import { Account, id } from "../fixtures/Account.js"

const [ending] = process.argv.slice(2)

// what `NodeRuntime.runMain` does
const runMain = makeRunMain(({ fiber, teardown }) => {
  const onSignal = () => fiber.unsafeInterruptAsFork(fiber.id())
  process.once("SIGINT", onSignal)
  process.once("SIGTERM", onSignal)
  fiber.addObserver((exit) => teardown(exit, (code) => process.exit(code)))
})

class Accounts extends Context.Tag("Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

let open = true
const snapshots = Layer.scoped(
  SnapshotStore.SnapshotStore,
  Effect.acquireRelease(
    Effect.map(SnapshotStore.makeMemory, (store) => ({
      ...store,
      save: (snapshot) =>
        Effect.zipRight(
          Effect.sleep("50 millis"),
          Effect.suspend(() => {
            console.log(open ? `saved ${snapshot.stream.id}` : "saved after closing")
            return store.save(snapshot)
          })
        )
    } satisfies SnapshotStore.SnapshotStore["Type"])),
    () =>
      Effect.sync(() => {
        open = false
        console.log("closed")
      })
  )
)

const program = Effect.gen(function*() {
  const accounts = yield* Accounts
  for (let n = 0; n < 10; n++) yield* accounts.execute(id(`a${n}`), { _tag: "Open" })
  console.log("ready")
  if (ending === "failure") return yield* Effect.fail("planned")
  if (ending === "defect") return yield* Effect.die("planned")
  if (ending === "signal") yield* Effect.never
})

runMain(
  program.pipe(Effect.provide(
    Repository.layer(Accounts, Account, { snapshots: SnapshotPolicy.background({ every: 1 }) }).pipe(
      Layer.provide([EventStore.layerMemory, snapshots])
    )
  )),
  { disableErrorReporting: true }
)
