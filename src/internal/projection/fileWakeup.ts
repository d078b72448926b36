// Wakes the readers of all processes on one SQLite file. A commit changes the file or its write-ahead log, and the operating
// system reports that to a process that watches the folder, so that waiting costs nothing.
//
// A change may be one of this process, or no commit at all: the readers look at the feed, and find nothing. They look by
// themselves too, because some file systems report no changes.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { FSWatcher } from "node:fs"
import * as Signal from "../signal.js"
import * as Telemetry from "./telemetry.js"

interface Watching {
  readonly filename: string
  readonly every: Duration.Duration
  readonly ring: () => void
}

/** Watches until the scope closes. If the file cannot be watched, it tries again after a while. */
export const run = (watching: Watching): Effect.Effect<void, never, Scope.Scope> => {
  const always = Effect.scoped(session(watching)).pipe(
    Effect.tapError(Telemetry.unwatched),
    Effect.retry(Schedule.spaced("5 seconds"))
  )
  return Effect.asVoid(Effect.forkScoped(Effect.interruptible(always)))
}

const session = ({ every, filename, ring }: Watching): Effect.Effect<never, string, Scope.Scope> =>
  Effect.gen(function*() {
    const changed = Signal.make()
    const failed = Signal.make()
    yield* Effect.acquireRelease(
      attempt(() => watch(filename, changed.ring, failed.ring)),
      (watcher) => Effect.sync(() => watcher.close())
    )
    // commits before the watch began
    ring()
    const lost = Effect.zipRight(failed.wait(0, Duration.infinity), Effect.fail("the folder is not watched any more"))
    let seen = changed.count()
    const ringing = Effect.forever(
      Effect.suspend(() => changed.wait(seen, Duration.infinity)).pipe(
        Effect.zipRight(Effect.sync(() => {
          // a change while this sleeps rings after it
          seen = changed.count()
          ring()
        })),
        Effect.zipRight(Effect.sleep(every))
      )
    )
    return yield* Effect.raceFirst(lost, ringing)
  })

const watch = (filename: string, onChange: () => void, onError: () => void): FSWatcher => {
  // not imported: this is a part of bundles for browsers, which do not have these modules
  const fs = globalThis.process.getBuiltinModule("node:fs")
  const path = globalThis.process.getBuiltinModule("node:path")
  // SQLite follows symbolic links before it names the log. The folder is watched, since the log may be created anew
  const file = fs.realpathSync(filename)
  const database = path.basename(file)
  const watcher = fs.watch(path.dirname(file), { persistent: false }, (_, name) => {
    if (name === null || name === database || name === `${database}-wal`) onChange()
  })
  return watcher.on("error", onError)
}

const attempt = <A>(run: () => A): Effect.Effect<A, string> =>
  Effect.try({
    try: run,
    catch: (error) => error instanceof Error && "code" in error ? String(error.code) : "an unknown error"
  })
