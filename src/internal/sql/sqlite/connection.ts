// Shares the one connection of a SQLite client. Every statement and every transaction takes a turn on it, first come, first
// served. The fibers inside a transaction see a connection of their own, which knows whether the transaction is still open.
// A free turn costs about a microsecond.
import * as SqlClient from "@effect/sql/SqlClient"
import type * as Connection from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as EventLoop from "../eventLoop.js"
import { classify } from "../failure.js"
import * as Turns from "../turns.js"
import type { Check } from "./file.js"
import * as Levels from "./levels.js"
import * as Preparing from "./preparing.js"

export interface SqliteConnection {
  /** All fibers share it, and every statement on it takes a turn. */
  readonly shared: Connection.Connection
  /** Whether the connection is one of an open transaction, or of one inside an open transaction. */
  readonly isOpen: (connection: Connection.Connection) => boolean
}

const key: unique symbol = Symbol("effect-eventsourcing/SqliteConnection")

interface ClientWithConnection extends SqlClient.SqlClient {
  readonly [key]: SqliteConnection
}

const hasConnection = (client: SqlClient.SqlClient): client is ClientWithConnection => key in client

/** The connection of a client that `install` changed, or of a copy of it. */
export const of = (client: SqlClient.SqlClient): SqliteConnection | undefined =>
  hasConnection(client) ? client[key] : undefined

/**
 * Makes the statements and transactions of a client take turns. It changes the client itself: services of the driver's layer
 * may hold it, and its own transactions would begin on the connection whose statements take turns.
 */
export const install = (client: SqlClient.SqlClient, connection: Connection.Connection, options: {
  readonly check: Check
  /** Repeats an effect that fails because the database is busy, and waits in between. */
  readonly whileBusy: Root["whileBusy"]
  readonly eventLoop: EventLoop.EventLoop["Type"]
}): void => {
  const bound: Connection.Connection = {
    execute: connection.execute.bind(connection),
    executeRaw: connection.executeRaw.bind(connection),
    executeValues: connection.executeValues.bind(connection),
    executeUnprepared: connection.executeUnprepared.bind(connection),
    executeStream: connection.executeStream.bind(connection)
  }
  const raw: Connection.Connection = { ...bound, execute: Preparing.execute(bound) }
  const { eventLoop } = options
  const turns = Turns.make((waiting) => waiting, eventLoop)
  const shared = Levels.connectionOn(
    raw,
    (text, on) =>
      turns.run(Effect.suspend(() =>
        Levels.startsTransaction.test(text)
          ? Levels.refused(text)
          : after(options.check(text), () => Levels.attempt(() => on(raw)))
      ))
  )
  Object.assign(connection, shared, others(connection, turns))

  const levels = new WeakMap<Connection.Connection, Levels.Level>()
  const root: Root = {
    ...options,
    raw,
    turns,
    make: (kind, parent) => {
      const level = Levels.make(kind, { raw, parent, eventLoop, around: parent?.connection ?? connection })
      levels.set(level.connection, level)
      return level
    },
    open: (connection) => {
      let level = levels.get(connection)
      while (level?.ended === true) level = level.parent
      return level
    }
  }
  const own: Pick<ClientWithConnection, "reserve" | "withTransaction" | typeof key> = {
    reserve: reserveOn(root),
    withTransaction: transactionsOn(root),
    [key]: { shared: connection, isOpen: (connection) => root.open(connection) !== undefined }
  }
  Object.assign(client, own)
}

// the driver's other operations must not run in the midst of a transaction either. A backup takes long: only its beginning
// waits for a turn
const others = (connection: Connection.Connection, turns: Turns.Turns<never>): object => {
  const { backup, export: exported, loadExtension } = Object.fromEntries(Object.entries<unknown>({ ...connection }))
  const isEffect = (value: unknown): value is Effect.Effect<unknown, unknown> => Effect.isEffect(value)
  const call = (f: Function, args: ReadonlyArray<unknown>): Effect.Effect<unknown, unknown> =>
    Reflect.apply(f, connection, args)
  return {
    ...(isEffect(exported) ? { export: turns.run(exported) } : {}),
    ...(typeof backup === "function"
      ? { backup: (...args: ReadonlyArray<unknown>) => Effect.zipRight(turns.run(Effect.void), call(backup, args)) }
      : {}),
    ...(typeof loadExtension === "function"
      ? { loadExtension: (...args: ReadonlyArray<unknown>) => turns.run(call(loadExtension, args)) }
      : {})
  }
}

/** The connection and the services that transactions need. */
interface Root {
  readonly raw: Connection.Connection
  readonly turns: Turns.Turns<never>
  readonly check: Check
  readonly whileBusy: <A, E>(effect: Effect.Effect<A, E | SqlError>) => Effect.Effect<A, E | SqlError>
  readonly make: (kind: Levels.Level["kind"], parent?: Levels.Level) => Levels.Level
  /** The level of a connection, or the first one around it that has not ended. */
  readonly open: (connection: Connection.Connection) => Levels.Level | undefined
}

const reserveOn = (root: Root): SqlClient.SqlClient["reserve"] =>
  Effect.uninterruptibleMask((restore) =>
    Effect.zipRight(
      root.turns.take(restore),
      Effect.flatMap(Effect.scope, (scope) => {
        const level = root.make("reserved")
        // rolls back a transaction that was begun by hand and forgotten
        const release = Effect.ensuring(undo(root, level), Effect.sync(() => close(root, level)))
        return Effect.as(Scope.addFinalizer(scope, release), level.connection)
      })
    )
  )

const transactionsOn = (root: Root): SqlClient.SqlClient["withTransaction"] => (effect) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.useSpan(
      "sql.transaction",
      { kind: "client", captureStackTrace: false },
      (span) =>
        Effect.withFiberRuntime((fiber) => {
          span.attribute("db.system.name", "sqlite")
          const context = fiber.currentContext
          return Effect.flatMap(begin(root, context, restore), (level) =>
            Effect.locally(
              restore(effect),
              FiberRef.currentContext,
              Context.add(context, SqlClient.TransactionConnection, [level.connection, level.depth]).pipe(
                Context.add(Tracer.ParentSpan, span)
              )
            ).pipe(
              Effect.exit,
              Effect.flatMap((exit) =>
                Effect.zipRight(end(root, level, { restore, succeeded: Exit.isSuccess(exit) }), exit)
              )
            ))
        })
    )
  )

const begin = (
  root: Root,
  context: Context.Context<never>,
  restore: Turns.Restore
): Effect.Effect<Levels.Level, SqlError> =>
  Effect.suspend(() => {
    const around = Option.map(
      Context.getOption(context, SqlClient.TransactionConnection),
      ([connection]) => root.open(connection)
    )
    return Option.isNone(around) || around.value === undefined
      ? beginOutermost(root, restore)
      : beginInside(root, around.value, restore).pipe(
        // the level around it has ended meanwhile
        Effect.flatMap((level) => level === undefined ? begin(root, context, restore) : Effect.succeed(level))
      )
  })

const checked = ({ check, raw }: Root, text: string): Effect.Effect<void, SqlError> =>
  Effect.suspend(() => after(check(text), () => Levels.command(raw, text)))

const after = <A>(checked: ReturnType<Check>, run: () => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
  checked === undefined ? run() : Effect.zipRight(checked, Effect.suspend(run))

/** Begins with the lock for writing: else the first write may fail. Between tries other fibers have the connection. */
const beginOutermost = (root: Root, restore: Turns.Restore): Effect.Effect<Levels.Level, SqlError> =>
  Effect.suspend(() => {
    let begun = false
    const attempt = Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(
        root.turns.take(restore),
        Effect.matchEffect(checked(root, "BEGIN IMMEDIATE"), {
          onFailure: (error) => {
            root.turns.give()
            return Effect.fail(error)
          },
          onSuccess: () =>
            Effect.sync(() => {
              begun = true
            })
        })
      )
    )
    return restore(root.whileBusy(attempt)).pipe(
      // the interruption came just when the transaction had begun
      Effect.onError(() =>
        begun
          ? Effect.ensuring(Effect.ignore(Levels.command(root.raw, "ROLLBACK")), Effect.sync(root.turns.give))
          : Effect.void
      ),
      Effect.map(() => root.make("transaction"))
    )
  })

const beginInside = (
  root: Root,
  parent: Levels.Level,
  restore: Turns.Restore
): Effect.Effect<Levels.Level | undefined, SqlError> =>
  Effect.zipRight(
    parent.turns.take(restore),
    Effect.suspend((): Effect.Effect<Levels.Level | undefined, SqlError> => {
      if (parent.ended || parent.dead !== undefined) {
        parent.turns.give()
        return parent.ended ? Effect.succeed(undefined) : parent.dead!
      }
      const level = root.make("savepoint", parent)
      parent.child = level
      return Levels.command(root.raw, `SAVEPOINT ${level.savepoint}`).pipe(
        Effect.tapError((error) => Levels.lookAfter(root.raw, level, error)),
        Effect.tapError(() => Effect.sync(() => close(root, level))),
        Effect.as(level)
      )
    })
  )

const end = (
  root: Root,
  level: Levels.Level,
  { restore, succeeded }: { readonly restore: Turns.Restore; readonly succeeded: boolean }
): Effect.Effect<void, SqlError> =>
  (succeeded ? Effect.onError(complete(root, level, restore), () => undo(root, level)) : undo(root, level)).pipe(
    Effect.ensuring(Effect.sync(() => close(root, level)))
  )

const complete = (root: Root, level: Levels.Level, restore: Turns.Restore): Effect.Effect<void, SqlError> =>
  Effect.zipRight(
    quieten(level, restore),
    Effect.suspend(() => {
      if (level.dead !== undefined) return level.dead
      if (level.kind === "savepoint") return Levels.command(root.raw, `RELEASE SAVEPOINT ${level.savepoint}`)
      const commit = checked(root, "COMMIT")
      // without a write-ahead log a commit waits for the readers of other processes, and can be repeated
      return Effect.catchAll(
        commit,
        (error) => classify(error).kind === "Busy" ? restore(root.whileBusy(commit)) : Effect.fail(error)
      )
    })
  )

/** Takes the level's turn for good: the statements on their way go first, and no other begins. */
const quieten = (level: Levels.Level, restore: Turns.Restore): Effect.Effect<void, SqlError> =>
  Effect.suspend(() =>
    level.quiet ? Effect.void : Effect.map(level.turns.take(restore), () => {
      level.quiet = true
    })
  )

const undo = (root: Root, level: Levels.Level): Effect.Effect<void> =>
  Effect.suspend(() => {
    // nested transactions of fibers that outlived this one are undone with it
    const innermost = Levels.innermost(level)
    Levels.condemn(
      level.child,
      Levels.failure("SQLITE_ABORT_ROLLBACK", "the transaction around it has ended and was rolled back")
    )
    return Effect.zipRight(Effect.ignore(quieten(innermost, (effect) => effect)), rollback(root, level))
  })

const rollback = ({ raw }: Root, level: Levels.Level): Effect.Effect<void> =>
  Effect.suspend(() => {
    // SQLite may have rolled it back already, as after a full disk
    if (level.kind !== "savepoint") return Effect.ignore(Levels.command(raw, "ROLLBACK"))
    if (level.dead !== undefined) return Effect.void
    return Effect.zipRight(
      Levels.command(raw, `ROLLBACK TO SAVEPOINT ${level.savepoint}`),
      Levels.command(raw, `RELEASE SAVEPOINT ${level.savepoint}`)
    ).pipe(
      // the work that should be undone must not be committed with the rest
      Effect.catchAll((error) =>
        Effect.sync(() =>
          Levels.condemnAll(
            level,
            Levels.failure("SQLITE_ABORT_ROLLBACK", "a transaction nested in it could not be rolled back", error)
          )
        )
      )
    )
  })

const close = (root: Root, level: Levels.Level): void => {
  level.ended = true
  Levels.finish(level)
  if (level.parent === undefined) return root.turns.give()
  if (level.parent.child === level) level.parent.child = undefined
  level.parent.turns.give()
}
