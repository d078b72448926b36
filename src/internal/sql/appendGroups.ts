// Sends each append alone, or with those of other fibers. Why: docs/decisions/0110-grouped-appends.md.
// Mechanism: a group is one statement on PostgreSQL, and one transaction on SQLite. It returns the rows of each append
// as a single statement would. If the group fails as a whole, each append is sent alone, with the same event ids. If no
// statement of the group was sent, each append fails with the failure of the group, and is tried again as a single one.
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { AppendGroup, AppendOptions } from "./dialect.js"
import type * as EventLoop from "./eventLoop.js"
import { classify, isUnreachable } from "./failure.js"
import * as Grouping from "./grouping.js"
import * as Lanes from "./lanes.js"
import * as Retry from "./retry.js"
import * as Rounds from "./rounds.js"
import type { Services } from "./services.js"

type Rows = ReadonlyArray<ReadonlyArray<unknown>>

/** The record of the tries of one append. */
export interface Tries {
  /** Whether one of the tries may have appended, even if the last one did not. */
  mayHaveAppended: boolean
}

/** Sends an append, and gives the rows of its statement. */
export interface Send {
  (options: AppendOptions, tries: Tries): Effect.Effect<Rows, SqlError>
}

export const note = (error: SqlError, tries: Tries): void => {
  tries.mayHaveAppended ||= classify(error).mayHaveHappened
}

export const alone = ({ client, statements }: Services): Send => (options) =>
  client.executeValues(statements.append(options))

/** Groups all appends, even those that would be sent alone. Tests of the stores provide it. */
export class Forced extends Context.Reference<Forced>()("effect-eventsourcing/internal/ForcedGroups", {
  defaultValue: () => false
}) {}

export interface Options {
  readonly forced: boolean
  readonly eventLoop: EventLoop.EventLoop["Type"]
}

export const make = (services: Services, { eventLoop, forced }: Options): Send => {
  const { client: { mayShare }, statements: { appendGroup } } = services
  const sendAlone = alone(services)
  const sendGroup = orEachAlone(
    appendGroup === undefined ? inTransaction(services) : inStatement(services, appendGroup)
  )
  const options = {
    ...groupOn(appendGroup === undefined ? "thread" : "server"),
    send: forced ? sendGroup : Grouping.unlessOne(sendGroup, ({ options, tries }) => sendAlone(options, tries))
  }
  const { run } = appendGroup === undefined
    ? Rounds.make<Item, Rows, SqlError>({ ...options, forced, eventLoop })
    : Lanes.make<Item, Rows, SqlError>({ ...options, ...Lanes.limits(forced) })
  return (options, tries) =>
    Effect.withFiberRuntime((fiber) =>
      mayShare(fiber) ? run({ options, tries }, sendAlone(options, tries)) : sendAlone(options, tries)
    )
}

// The weight is roughly the size in bytes: a group has at most about 250 events, and at most a million characters. On SQLite
// it also has at most 62 appends: their fibers go on in the turn of the event loop in which the group may have ended
const groupOn = (database: "server" | "thread"): Pick<Grouping.Options<Item, Rows, SqlError>, "capacity" | "weigh"> => {
  const least = database === "server" ? 0 : 12_000
  return {
    capacity: 1_000_000,
    weigh: ({ options: { events } }) =>
      events.reduce((sum, { metadata, payload }) => sum + 4_000 + payload.length + metadata.length, least)
  }
}

type SendGroup = Grouping.Options<Item, Rows, SqlError>["send"]

// without a connection each append would wait for a connection once more
const orEachAlone = (sendGroup: SendGroup): SendGroup => (items, isWanted) =>
  Effect.catchAll(sendGroup(items, isWanted), (error) => {
    if (isUnreachable(error)) return Effect.fail(error)
    for (const { tries } of items) note(error, tries)
    return Effect.succeed([])
  })

// the group may wait long for a connection: an append that was interrupted meanwhile does not go with it
const inStatement =
  ({ client: { executeValuesOf } }: Services, appendGroup: AppendGroup): SendGroup => (items, isWanted) =>
    Effect.suspend(() => {
      const places: Array<number> = []
      let split: ReturnType<AppendGroup>["split"] | undefined
      const sent = executeValuesOf(() => {
        for (const place of items.keys()) if (isWanted(place)) places.push(place)
        const group = appendGroup(places.map((place) => items[place].options))
        split = group.split
        return group.query
      })
      return Effect.map(sent, (rows) => {
        const answers: Array<Rows | undefined> = items.map(() => undefined)
        for (const [index, answer] of (split?.(rows) ?? []).entries()) answers[places[index]] = answer
        return answers
      })
    })

// A statement that fails undoes only itself; if the whole transaction is lost, the commit fails. The group waits only for a
// moment for a file that another process holds, because each append measures how long it has waited.
const inTransaction =
  ({ client: { executeValues, transaction }, statements }: Services): SendGroup => (items, isWanted) =>
    transaction(
      Effect.forEach(items, ({ options }, index) =>
        Effect.suspend(() =>
          // an interrupted append that did not run yet does not run afterwards
          isWanted(index)
            ? Effect.orElseSucceed(executeValues(statements.append(options)), () => undefined)
            : Effect.succeed(undefined)
        ))
    ).pipe(Effect.provideService(Retry.BusyPatience, "100 millis"))

interface Item {
  readonly options: AppendOptions
  readonly tries: Tries
}
