/**
 * SQLite as an event store wants it: opened with typed errors, durable, and never blocking the event loop for seconds.
 *
 * The driver is yours to bring: this module takes its `layer` function and imports none.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { booleanProblem, waitProblem } from "./internal/options.js"
import { nodeVersion, platformProblem } from "./internal/platform.js"
import { whileBusy } from "./internal/sql/client.js"
import * as Row from "./internal/sql/row.js"
import * as SqliteConnection from "./internal/sql/sqlite/connection.js"
import * as EventLoop from "./internal/sql/sqlite/eventLoop.js"
import { watch } from "./internal/sql/sqlite/file.js"
import { defaultBusyTimeout } from "./internal/sql/sqlite/pragmas.js"
import { quote } from "./internal/text.js"
import { InvalidOption } from "./InvalidOption.js"
import { describe } from "./SqlMigrations.js"

/**
 * The file could not be opened as a database.
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
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `SQLite could not open ${quote(this.filename)}: ${this.detail}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * When a commit counts as done. `FULL` (the default): when the disk has it, so that not even a power cut loses an
   * acknowledged event. `NORMAL`: when the operating system has it; a power cut may lose the last commits, a crash of
   * the process loses none, and an append takes about a fifth of the time.
   */
  readonly synchronous?: "NORMAL" | "FULL" | undefined
  /**
   * How long SQLite itself may wait for the lock of another process, which blocks every fiber of this one. The default
   * is 10 milliseconds; the stores go on waiting by a schedule that blocks nothing, for 5 seconds.
   */
  readonly busyTimeout?: Duration.DurationInput | undefined
}

/**
 * What this module needs of a driver's configuration.
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
 * Opens a database file through a driver's `layer`, with a write-ahead log (unless `disableWAL`), `synchronous` and
 * `busyTimeout` as in {@link Options}, and transactions that take the write lock when they begin (`BEGIN IMMEDIATE`),
 * so that none fails half way because another process wrote first.
 *
 * @example
 * ```ts
 * import { Sqlite, SqlEventStore, SqlSnapshotStore } from "effect-eventsourcing"
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { Layer } from "effect"
 *
 * const StoresLive = Layer.merge(SqlEventStore.layer, SqlSnapshotStore.layer).pipe(
 *   Layer.provide(Sqlite.layer(SqliteClient.layer, { filename: "bank.db" }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Config extends DriverConfig, A, E, R>(
  driver: (config: Config) => Layer.Layer<A | SqlClient.SqlClient, E, R>,
  options: Config & Options
): Layer.Layer<A | SqlClient.SqlClient, DatabaseError | InvalidOption, R> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    // an old one could not tell a file that is gone
    const tooOld = platformProblem(nodeVersion())
    if (tooOld !== undefined) return yield* tooOld
    // the driver has options that are not known here
    const wrong = typeof options === "object" && options !== null
      ? undefined
      : new InvalidOption({ option: "options", value: quote(options), expected: "a record with filename" })
    if (wrong !== undefined) return yield* wrong
    const { busyTimeout = defaultBusyTimeout, disableWAL, filename, synchronous = "FULL" } = options
    const wrongPart = waitProblem("busyTimeout", busyTimeout) ?? booleanProblem("disableWAL", disableWAL)
    if (wrongPart !== undefined) return yield* wrongPart
    // the driver trims it, and takes nothing for a database that is gone when it closes
    if (
      typeof filename !== "string" || filename === "" || filename.trim() !== filename || filename.includes("\u0000")
    ) {
      return yield* new InvalidOption({
        option: "filename",
        value: quote(filename),
        expected: "the path of a database file without spaces around it, or \":memory:\""
      })
    }
    if (synchronous !== "FULL" && synchronous !== "NORMAL") {
      return yield* new InvalidOption({ option: "synchronous", value: quote(synchronous), expected: "FULL or NORMAL" })
    }
    const failure = (cause: unknown) => new DatabaseError({ filename, detail: advise(cause), cause })
    // the driver would set the log while SQLite still waits for five seconds, in code that throws
    const opened = Layer.catchAllCause(
      driver({ ...options, disableWAL: true }),
      (cause) => Layer.fail(failure(Cause.squash(cause)))
    )
    const configured = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const connection = yield* Effect.scoped(sql.reserve)
      const millis = Math.trunc(Duration.toMillis(busyTimeout))
      // not through the client: the layer may be built inside a transaction of another one
      const run = (statement: string) => Effect.suspend(() => connection.execute(statement, [], undefined))
      yield* run(`PRAGMA busy_timeout = ${millis}`)
      yield* whileBusy(run("PRAGMA schema_version"))
      if (options.readonly !== true) {
        if (options.disableWAL !== true) yield* whileBusy(run("PRAGMA journal_mode = WAL"))
        const [{ journal_mode: mode }]: ReadonlyArray<{ readonly journal_mode: string }> = yield* whileBusy(
          run("PRAGMA journal_mode")
        )
        // a rollback journal is deleted by the commit, and with FULL a power cut may bring it back
        yield* run(`PRAGMA synchronous = ${synchronous === "FULL" && mode !== "wal" ? "EXTRA" : synchronous}`)
      }
      // a first read, which makes the log
      yield* whileBusy(run("SELECT 1 FROM sqlite_master"))
      const check = yield* Effect.try({ try: () => watch(filename, logged(connection)), catch: (cause) => cause })
      SqliteConnection.install(sql, connection, { check, whileBusy, eventLoop: yield* EventLoop.EventLoop })
    }).pipe(Effect.mapError(failure))
    return Layer.tap(opened, (context) => Effect.provide(configured, context))
  }))

// -------------------------------------------------------------------------------------
// internal
// -------------------------------------------------------------------------------------

/** How many bytes of the write-ahead log hold what is not yet overwritten: a header, and a frame for every page. */
const logged = (connection: Connection.Connection): Effect.Effect<number, SqlError> => {
  const values = connection.executeValues.bind(connection)
  const read = (pragma: string, column: number) =>
    Effect.map(
      Effect.suspend(() => values(`PRAGMA ${pragma}`, [])),
      (rows) => Row.number(rows[0]?.[column])
    )
  return Effect.zipWith(
    // it looks, and moves nothing
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
