// one of several writers on one SQLite file: told "library 100" it appends a hundred events through the library, told
// "driver 100" it inserts them through the driver, each one by one
import { Effect, ManagedRuntime } from "effect"
import { EventStore, ExpectedVersion } from "effect-eventsourcing"
import * as readline from "node:readline"
import { deposited, newId, streamOf } from "./fixtures.js"
import * as Sqlite from "./sqlite.js"

const [filename, name] = process.argv.slice(2)

const runtime = ManagedRuntime.make(Sqlite.storesOn(filename))
const store = await runtime.runPromise(EventStore.EventStore)
const database = Sqlite.openDriver(filename)
const driver = Sqlite.driverOn(database)

const versions = { library: 0, driver: 0 }
const append = {
  library: (count: number) =>
    runtime.runPromise(Effect.repeatN(
      Effect.suspend(() =>
        store.append(
          streamOf(`${name}-library`),
          [{ id: newId(), type: deposited._tag, payload: deposited }],
          { expectedVersion: ExpectedVersion.exact(versions.library++) }
        )
      ),
      count - 1
    )),
  driver: async (count: number) => {
    for (let i = 0; i < count; i++) driver.insert(streamOf(`${name}-driver`), ++versions.driver, deposited)
  }
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const [kind, count] = line.split(" ")
  try {
    if (kind === "library" || kind === "driver") await append[kind](Number(count))
    console.log("done")
  } catch (error) {
    console.log(`failed: ${error instanceof Error ? error.message : error}`)
  }
}).on("close", async () => {
  database.close()
  await runtime.dispose()
})
console.log("ready")
