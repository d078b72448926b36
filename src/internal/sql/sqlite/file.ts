import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/**
 * Says why a statement must not run, if its file is not the one that was opened. Where only the database can tell, that is
 * an effect which asks it.
 *
 * @internal
 */
export type Check = (statement: string) => Effect.Effect<void, SqlError> | undefined

/**
 * SQLite goes on writing to a file that was removed or replaced while it was open, in write-ahead mode without a word:
 * what it acknowledges then is gone with the process. The log beside the file is as vital: until a checkpoint it alone has
 * the last commits. So is the index of the log, by which processes keep their writes apart. Before every statement the
 * database file is compared with the one that was opened; before one that may write, the log and its index too. A log that
 * was cut short is as good as removed: what is written behind the gap no recovery finds. It grows, and shrinks only where
 * a checkpoint has emptied it into the database: then its index says how much is left, `logged` in bytes.
 *
 * Call it after the first read: only then the log is there. It throws if the file cannot be looked at.
 *
 * @internal
 */
export const watch = (filename: string, logged: Effect.Effect<number, unknown>): Check => {
  // asked for, not imported: a bundle for a browser, of which this is a part, has no such modules. The versions of
  // Node.js on which the layer builds all have them
  const fs = globalThis.process?.getBuiltinModule?.("node:fs")
  const path = globalThis.process?.getBuiltinModule?.("node:path")
  if (fs === undefined || path === undefined || filename === ":memory:") return () => undefined
  // the program may change its folder later
  const file = path.resolve(filename)
  const look: Look = (file) => fs.statSync(file, { throwIfNoEntry: false })
  const database = look(file)
  if (database === undefined) return () => undefined
  // SQLite follows symbolic links before it names the files beside
  const logs = (): ReadonlyArray<Part> => logsOf({ filename, file: fs.realpathSync(file), look })
  const main: Part = { name: `the database file ${filename}`, file, opened: database }
  let beside = logs()
  let stale = false
  return (statement) => {
    const problem = problemOf(main, look)
    if (problem !== undefined || statement.startsWith("SELECT")) return problem
    // with another journal mode the log goes, or comes
    if (/^\s*PRAGMA\b.*journal_mode/is.test(statement)) {
      stale = true
      return undefined
    }
    try {
      if (stale) beside = logs()
      stale = false
    } catch (cause) {
      return unseen(main, cause)
    }
    return beside.reduce<ReturnType<Check>>(
      (problem, part) => problem ?? problemOf(part, look) ?? cut(part, logged),
      undefined
    )
  }
}

interface Identity {
  readonly dev: number
  readonly ino: number
  readonly size: number
}

interface Look {
  (file: string): Identity | undefined
}

interface Part {
  readonly name: string
  readonly file: string
  readonly opened: Identity
  /** Of the log: how long it was when it was last looked at, and is now. */
  readonly length?: { last: number; now: number } | undefined
}

const logsOf = (
  { file, filename, look }: { readonly filename: string; readonly file: string; readonly look: Look }
): ReadonlyArray<Part> =>
  [["-wal", "the write-ahead log"], ["-shm", "the index of the write-ahead log"]].flatMap(([suffix, name]) => {
    const opened = look(file + suffix)
    if (opened === undefined) return []
    const length = suffix === "-wal" ? { last: opened.size, now: opened.size } : undefined
    return [{ name: `${name} ${filename}${suffix}`, file: file + suffix, opened, length }]
  })

const problemOf = ({ file, length, name, opened }: Part, look: Look): SqlError | undefined => {
  let now: Identity | undefined
  try {
    now = look(file)
  } catch (cause) {
    return unseen({ name }, cause)
  }
  if (now?.ino === opened.ino && now.dev === opened.dev) {
    if (length !== undefined) length.now = now.size
    // the index never shrinks while it is open, nor is a database emptied
    else if (now.size < opened.size && (now.size === 0 || file.endsWith("-shm"))) return failure(`${name} ${wasCut}`)
    return undefined
  }
  return failure(
    `${name} was ${
      now === undefined ? "removed" : "replaced"
    } while it was open: put it back, or open the database again`
  )
}

const wasCut = "was cut short while it was open: restore the database from a copy, or stop before more is lost"

const cut = (
  { length, name }: Pick<Part, "length" | "name">,
  logged: Effect.Effect<number, unknown>
): Effect.Effect<void, SqlError> | undefined => {
  if (length === undefined) return undefined
  const { last, now } = length
  if (now >= last) {
    length.last = now
    return undefined
  }
  return Effect.matchEffect(logged, {
    // inside a transaction it cannot be asked; but then this one alone may write, and it cuts nothing
    onFailure: (cause) => failure(`${name} ${wasCut}`, cause),
    onSuccess: (bytes) => {
      if (now < bytes) return failure(`${name} ${wasCut}`)
      length.last = now
      return Effect.void
    }
  })
}

const unseen = ({ name }: Pick<Part, "name">, cause: unknown): SqlError =>
  failure(`${name} cannot be looked at: ${cause instanceof Error ? cause.message : String(cause)}`, cause)

const failure = (message: string, cause?: unknown): SqlError =>
  new SqlError({
    cause: Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code: "SQLITE_READONLY_DBMOVED" }),
    message
  })
