import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"

const checks = new WeakMap<SqlClient.SqlClient, Check>()

/**
 * What is wrong with the file, if something is.
 *
 * @internal
 */
export type Check = () => SqlError | undefined

/**
 * SQLite goes on writing to a file that was removed or replaced while it was open, in write-ahead mode without a word:
 * what it acknowledges then is gone with the process. So every statement of a store first looks whether the file is still
 * the one that was opened. Where the platform cannot tell, nothing is checked.
 *
 * @internal
 */
export const watch = (sql: SqlClient.SqlClient, filename: string): void => {
  const fs = globalThis.process?.getBuiltinModule?.("node:fs")
  const path = globalThis.process?.getBuiltinModule?.("node:path")
  if (fs === undefined || path === undefined) return
  // the program may change its folder later
  const file = path.resolve(filename)
  const identity = (): string | undefined => {
    const found = fs.statSync(file, { throwIfNoEntry: false })
    return found === undefined ? undefined : `${found.dev}:${found.ino}`
  }
  const opened = identity()
  // a database in memory has no file
  if (opened === undefined) return
  checks.set(sql, () => {
    const now = identity()
    if (now === opened) return undefined
    const cause = Object.assign(
      new Error(
        `the database file ${filename} was ${now === undefined ? "removed" : "replaced"} while it was open: ` +
          `put it back, or open the database again`
      ),
      { code: "SQLITE_READONLY_DBMOVED" }
    )
    return new SqlError({ cause, message: cause.message })
  })
}

/** @internal */
export const checkOf = (sql: SqlClient.SqlClient): Check | undefined => checks.get(sql)
