import { SqlError } from "@effect/sql/SqlError"

/**
 * Says why a statement must not run, if its file is not the one that was opened.
 *
 * @internal
 */
export type Check = (statement: string) => SqlError | undefined

/**
 * SQLite goes on writing to a file that was removed or replaced while it was open, in write-ahead mode without a word:
 * what it acknowledges then is gone with the process. The log beside the file is as vital: until a checkpoint it alone has
 * the last commits. So is the index of the log, by which processes keep their writes apart. Before every statement the
 * database file is compared with the one that was opened; before one that may write, the log and its index too.
 *
 * Call it after the first read: only then the log is there. It throws if the file cannot be looked at.
 *
 * @internal
 */
export const watch = (filename: string): Check => {
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
    return beside.reduce<SqlError | undefined>((problem, log) => problem ?? problemOf(log, look), undefined)
  }
}

interface Identity {
  readonly dev: number
  readonly ino: number
}

interface Look {
  (file: string): Identity | undefined
}

interface Part {
  readonly name: string
  readonly file: string
  readonly opened: Identity
}

const logsOf = (
  { file, filename, look }: { readonly filename: string; readonly file: string; readonly look: Look }
): ReadonlyArray<Part> =>
  [["-wal", "the write-ahead log"], ["-shm", "the index of the write-ahead log"]].flatMap(([suffix, name]) => {
    const opened = look(file + suffix)
    return opened === undefined ? [] : [{ name: `${name} ${filename}${suffix}`, file: file + suffix, opened }]
  })

const problemOf = ({ file, name, opened }: Part, look: Look): SqlError | undefined => {
  let now: Identity | undefined
  try {
    now = look(file)
  } catch (cause) {
    return unseen({ name }, cause)
  }
  if (now?.ino === opened.ino && now.dev === opened.dev) return undefined
  return failure(
    `${name} was ${
      now === undefined ? "removed" : "replaced"
    } while it was open: put it back, or open the database again`
  )
}

const unseen = ({ name }: Pick<Part, "name">, cause: unknown): SqlError =>
  failure(`${name} cannot be looked at: ${cause instanceof Error ? cause.message : String(cause)}`, cause)

const failure = (message: string, cause?: unknown): SqlError =>
  new SqlError({
    cause: Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code: "SQLITE_READONLY_DBMOVED" }),
    message
  })
