// Wakes the readers of all processes on one SQLite file. A commit changes the file or its write-ahead log, and the operating
// system reports that to a process that watches the folder, so that waiting costs nothing.
//
// A change may be one of this process, or no commit at all: the readers look at the feed, and find nothing. They look by
// themselves too, because some file systems report no changes.
//
// The operating system watches a folder, and not the name of it. If the name of the database leads to another folder, as after
// the folder was removed and created again, that one is watched instead.
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
    Effect.retry(Schedule.spaced(lookEvery))
  )
  return Effect.asVoid(Effect.forkScoped(Effect.interruptible(always)))
}

const lookEvery = "5 seconds"

const session = ({ every, filename, ring }: Watching): Effect.Effect<never, string, Scope.Scope> =>
  Effect.gen(function*() {
    const changed = Signal.make()
    const failed = Signal.make()
    const place = yield* attempt(() => placeOf(filename))
    yield* Effect.acquireRelease(
      attempt(() => watch(place, changed.ring, failed.ring)),
      (watcher) => Effect.sync(() => watcher.close())
    )
    // commits before the watch began
    ring()
    const lost = Effect.zipRight(failed.wait(0, Duration.infinity), Effect.fail("the folder is not watched any more"))
    const moved = attempt(() => placeOf(filename)).pipe(
      Effect.delay(lookEvery),
      Effect.filterOrFail((now) => isSame(now, place), () => "the name leads to another folder"),
      Effect.forever
    )
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
    return yield* Effect.raceFirst(Effect.raceFirst(lost, moved), ringing)
  })

// not imported: this is a part of bundles for browsers, which do not have these modules
const nodeFs = () => globalThis.process.getBuiltinModule("node:fs")
const nodePath = () => globalThis.process.getBuiltinModule("node:path")

/** Where a database is, and which folder that is: a folder that is created again has the same name. */
interface Place {
  readonly database: string
  readonly folder: string
  readonly device: bigint
  readonly inode: bigint
}

const placeOf = (filename: string): Place => {
  // SQLite follows symbolic links before it names the log
  const file = nodeFs().realpathSync(filename)
  const folder = nodePath().dirname(file)
  const { dev: device, ino: inode } = nodeFs().statSync(folder, { bigint: true })
  return { database: nodePath().basename(file), folder, device, inode }
}

const isSame = (one: Place, other: Place): boolean =>
  one.database === other.database && one.folder === other.folder && one.device === other.device &&
  one.inode === other.inode

/** Watches the folder, since the log may be created anew. */
const watch = ({ database, folder }: Place, onChange: () => void, onError: () => void): FSWatcher => {
  const watcher = nodeFs().watch(folder, { persistent: false }, (_, name) => {
    if (name === null || name === database || name === `${database}-wal`) onChange()
  })
  return watcher.on("error", onError)
}

const attempt = <A>(run: () => A): Effect.Effect<A, string> =>
  Effect.try({
    try: run,
    catch: (error) => error instanceof Error && "code" in error ? String(error.code) : "an unknown error"
  })
