/**
 * Opens SQLite for an event store: with typed errors, durable, and without blocking the event loop for seconds.
 *
 * The layer takes a driver's `layer` function and provides a client whose statements and transactions take turns on the
 * one connection. A statement costs a check of the file and a turn, a few microseconds.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { booleanProblem, optionProblem, unless, waitProblem } from "./internal/options.js"
import { nodeVersion, platformProblem } from "./internal/platform.js"
import * as EventLoop from "./internal/sql/eventLoop.js"
import { describe } from "./internal/sql/failure.js"
import { whileBusy } from "./internal/sql/retry.js"
import * as Row from "./internal/sql/row.js"
import * as SqliteConnection from "./internal/sql/sqlite/connection.js"
import { unlessClosed, watch } from "./internal/sql/sqlite/file.js"
import { defaultBusyTimeout } from "./internal/sql/sqlite/pragmas.js"
import { quote } from "./internal/text.js"
import type { InvalidOption } from "./InvalidOption.js"

/**
 * Signals that a file could not be opened as a database.
 *
 * @example
 * ```ts
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Sqlite } from "effect-eventsourcing"
 * import { Effect, Layer } from "effect"
 *
 * const SqliteLive = Sqlite.layer(SqliteClient.layer, { filename: "bank.db" }).pipe(
 *   Layer.tapError((error) => Effect.logFatal(error.message))
 * )
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class DatabaseError extends Schema.TaggedError<DatabaseError>("effect-eventsourcing/DatabaseError")(
  "DatabaseError",
  {
    filename: Schema.String,
    detail: Schema.String,
    cause: Schema.Defect
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `SQLite could not open ${quote(this.filename)}: ${this.detail}`
  }
}

/**
 * The options of {@link layer}, in addition to those of the driver.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * When a commit is complete. With `FULL`, the default, it is on the disk: a power cut loses no acknowledged event.
   * With `NORMAL` the operating system has it: a power cut may lose the last commits, a crash of the process does not,
   * and an append takes about a fifth of the time.
   */
  readonly synchronous?: "NORMAL" | "FULL" | undefined
  /**
   * How long SQLite itself may wait for the lock of another process, which blocks every fiber of this process. Default
   * 10 milliseconds. The stores then wait for up to 5 seconds without blocking.
   */
  readonly busyTimeout?: Duration.DurationInput | undefined
}

/**
 * The part of a driver's configuration that {@link layer} needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface DriverConfig {
  readonly filename: string
  readonly readonly?: boolean | undefined
  readonly disableWAL?: boolean | undefined
}

/**
 * Opens a database file through a driver's `layer`, with a write-ahead log unless `disableWAL` is true. Transactions
 * take the write lock when they begin (`BEGIN IMMEDIATE`), so that they cannot fail half way because another process
 * wrote first.
 *
 * @example
 * ```ts
 * import { Sqlite, SqlStores } from "effect-eventsourcing"
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Layer } from "effect"
 *
 * const StoresLive = Layer.provide(SqlStores.layer, Sqlite.layer(SqliteClient.layer, { filename: "bank.db" }))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Config extends DriverConfig, A, E, R>(
  driver: (config: Config) => Layer.Layer<A | SqlClient.SqlClient, E, R>,
  options: Config & Options
): Layer.Layer<A | SqlClient.SqlClient, DatabaseError | InvalidOption, R> =>
  Layer.suspend((): Layer.Layer<A | SqlClient.SqlClient, DatabaseError | InvalidOption, R> => {
    const problem = optionsProblem(options)
    if (problem !== undefined) return Layer.fail(problem)
    const failure = (cause: unknown) => new DatabaseError({ filename: options.filename, detail: advise(cause), cause })
    // the driver would set the log while SQLite still waits for five seconds, in code that throws
    const opened = Layer.catchAllCause(
      driver({ ...options, disableWAL: true }),
      (cause) => Layer.fail(failure(Cause.squash(cause)))
    )
    return Layer.tap(
      opened,
      (context) => Effect.mapError(configure(Context.get(context, SqlClient.SqlClient), options), failure)
    )
  })

const optionsProblem = (options: DriverConfig & Options): InvalidOption | undefined => {
  // an old Node.js cannot tell that a file is gone
  const tooOld = platformProblem(nodeVersion())
  if (tooOld !== undefined) return tooOld
  // options of the driver are not known here
  if (typeof options !== "object" || options === null) {
    return optionProblem("options", options, "a record with filename")
  }
  const { busyTimeout, disableWAL, filename, synchronous } = options
  // the driver trims it, and takes an empty one for a database that is gone when it closes
  const isFilename = typeof filename === "string" && filename !== "" && filename.trim() === filename &&
    !filename.includes("\u0000")
  return (busyTimeout === undefined ? undefined : waitProblem("busyTimeout", busyTimeout)) ??
    booleanProblem("disableWAL", disableWAL) ??
    unless(isFilename, "filename", filename, "the path of a database file without spaces around it, or \":memory:\"") ??
    unless([undefined, "FULL", "NORMAL"].includes(synchronous), "synchronous", synchronous, "FULL or NORMAL")
}

const configure = Effect.fnUntraced(function*(sql: SqlClient.SqlClient, options: DriverConfig & Options) {
  const { busyTimeout = defaultBusyTimeout, disableWAL, filename, readonly, synchronous = "FULL" } = options
  const connection = yield* Effect.scoped(sql.reserve)
  // not through the client: the layer may be built inside a transaction of another one
  const run = (statement: string) => Effect.suspend(() => connection.execute(statement, [], undefined))
  yield* run(`PRAGMA busy_timeout = ${Math.trunc(Duration.toMillis(busyTimeout))}`)
  yield* whileBusy(run("PRAGMA schema_version"))
  if (readonly !== true) {
    if (disableWAL !== true) yield* whileBusy(run("PRAGMA journal_mode = WAL"))
    const [{ journal_mode: mode }]: ReadonlyArray<Row.Row> = yield* whileBusy(run("PRAGMA journal_mode"))
    // a commit deletes a rollback journal, and with FULL a power cut may bring the journal back
    yield* run(`PRAGMA synchronous = ${synchronous === "FULL" && mode !== "wal" ? "EXTRA" : synchronous}`)
  }
  // the first read creates the log
  yield* whileBusy(run("SELECT 1 FROM sqlite_master"))
  const check = yield* Effect.try({ try: () => watch(filename, logged(connection)), catch: (cause) => cause })
  const eventLoop = yield* EventLoop.EventLoop
  const execute = connection.execute.bind(connection)
  const ask = Effect.suspend(() => execute("SELECT 1", [], undefined))
  SqliteConnection.install(sql, connection, { check: unlessClosed(check, ask), whileBusy, eventLoop })
})

/** Returns the bytes of the write-ahead log that no checkpoint has emptied yet: a header, and a frame for each page. */
const logged = (connection: Connection.Connection): Effect.Effect<number, SqlError> => {
  const values = connection.executeValues.bind(connection)
  const read = (pragma: string, column: number) =>
    Effect.map(Effect.suspend(() => values(`PRAGMA ${pragma}`, [])), (rows) => Row.number(rows[0]?.[column]))
  return Effect.zipWith(
    // it reads, and does not move pages
    read("wal_checkpoint(NOOP)", 1),
    read("page_size", 0),
    (frames, page) => frames > 0 ? 32 + frames * (24 + page) : 0
  )
}

const advise = (cause: unknown): string => {
  const text = describe(cause)
  if (/unable to open database file|directory does not exist/i.test(text)) {
    return `${text}: is it a folder, is its folder missing, or may this user not write there?`
  }
  if (/not a database/.test(text)) return `${text}: choose another file; this one was left as it is`
  if (/locked/.test(text)) return `${text}: another process holds it; try again when that has ended`
  if (/readonly/.test(text)) return `${text}: may this user write the file and its folder?`
  return text
}
