import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { classify } from "../failure.js"

/** Says why a statement must not run on a file that is not the opened one. The effect asks the database, if needed. */
export type Check = (statement: string) => Effect.Effect<void, SqlError> | undefined

/**
 * Notices that a database file was removed or replaced while it was open. SQLite goes on writing to it without an error, and
 * the commits that it acknowledges are gone with the process. The write-ahead log has the last commits until a checkpoint,
 * and by its index processes keep their writes apart. So the file is compared with the one that was opened before every
 * statement; the log and its index before a statement that may write. A log that was cut short has a gap, and a recovery
 * does not find the commits behind it. A log shrinks only after a checkpoint; `logged` says how many bytes of it are left.
 *
 * Call it after the first read, which makes the log. It throws if the file cannot be read.
 */
export const watch = (filename: string, logged: Effect.Effect<number, unknown>): Check => {
  // not imported: this is a part of bundles for browsers, which do not have these modules. All supported versions of
  // Node.js have them
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
    // another journal mode removes the log, or creates it
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

/**
 * Lets a closed database fail as such: the last client that closes a file removes its log. `ask` is a statement that does
 * not touch the file, and is not checked itself.
 */
export const unlessClosed = (check: Check, ask: Effect.Effect<unknown, SqlError>): Check => (statement) => {
  const problem = check(statement)
  if (problem === undefined) return undefined
  return Effect.catchAll(problem, (error) =>
    Effect.matchEffect(ask, {
      onFailure: (failed) => Effect.fail(classify(failed).kind === "Closed" ? failed : error),
      onSuccess: () => Effect.fail(error)
    }))
}

interface Identity {
  readonly dev: number
  readonly ino: number
  readonly size: number
}

type Look = (file: string) => Identity | undefined

interface Part {
  readonly name: string
  readonly file: string
  readonly opened: Identity
  /** Of the log: its length at the last look, and now. */
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
    // the index of an open database does not shrink, and an open database is not emptied
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
    // the database does not answer inside a transaction; but then this process alone writes, and does not shrink the log
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
