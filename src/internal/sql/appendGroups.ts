// Sends each append alone, or with those of other fibers. Why: docs/decisions/0110-grouped-appends.md.
// Mechanism: a group is one statement on PostgreSQL, and one transaction on SQLite. It returns the rows of each append
// as a single statement would. If the group fails as a whole, each append is sent alone, with the same event ids.
import type { SqlError } from "@effect/sql/SqlError"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Order from "effect/Order"
import type { AppendGroup, AppendOptions } from "./dialect.js"
import { classify } from "./failure.js"
import type * as Grouping from "./grouping.js"
import * as Lanes from "./lanes.js"
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

export const make = (services: Services, { forced }: { readonly forced: boolean }): Send => {
  const { client: { mayShare }, statements: { appendGroup } } = services
  const sendAlone = alone(services)
  const sendGroup = appendGroup === undefined ? inTransaction(services) : inStatement(services, appendGroup)
  const options = { ...group, send: forced ? sendGroup : unlessOne(sendGroup, sendAlone) }
  const { run } = appendGroup === undefined
    ? Rounds.make<Item, Rows>({ ...options, forced })
    : Lanes.make<Item, Rows>({ ...options, ...(forced ? { lanes: 0, patience: 1 } : { lanes: 2, patience: 20 }) })
  return (options, tries) =>
    Effect.withFiberRuntime((fiber) =>
      mayShare(fiber) ? run({ options, tries }, sendAlone(options, tries)) : sendAlone(options, tries)
    )
}

// the weight is roughly the size in bytes: a group has at most about 250 events, and at most a million characters
const group: Pick<Grouping.Options<Item, Rows>, "capacity" | "weigh"> = {
  capacity: 1_000_000,
  weigh: ({ options: { events } }) =>
    events.reduce((sum, { metadata, payload }) => sum + 4_000 + payload.length + metadata.length, 0)
}

type SendGroup = Grouping.Options<Item, Rows>["send"]

// for one append, a group costs more than a single statement
const unlessOne = (sendGroup: SendGroup, sendAlone: Send): SendGroup => (items) => {
  const [{ options, tries }] = items
  return items.length === 1
    ? Effect.map(Effect.tapError(sendAlone(options, tries), noteAll(items)), (rows) => [rows])
    : sendGroup(items)
}

const inStatement = ({ client: { executeValues } }: Services, appendGroup: AppendGroup): SendGroup => {
  const order = Order.mapInput(appendGroup.order, ({ options }: Item) => options)
  return (items) => {
    const sorted = Arr.sort(items, order)
    return executeValues(appendGroup.query(sorted.map(({ options }) => options))).pipe(
      Effect.map((rows) => {
        const answers = new Map(Arr.zip(sorted, appendGroup.split(rows)))
        return items.map((item) => answers.get(item))
      }),
      Effect.tapError(noteAll(items))
    )
  }
}

// a statement that fails undoes only itself; if the whole transaction is lost, the commit fails
const inTransaction = ({ client: { executeValues, transaction }, statements }: Services): SendGroup => (items) =>
  transaction(
    Effect.forEach(items, ({ options }) =>
      Effect.matchEffect(executeValues(statements.append(options)), {
        onFailure: () => Effect.succeed(undefined),
        onSuccess: Effect.succeed
      }))
  ).pipe(Effect.tapError(noteAll(items)))

const noteAll = (items: ReadonlyArray<Item>) => (error: SqlError) =>
  Effect.sync(() => {
    for (const { tries } of items) note(error, tries)
  })

interface Item {
  readonly options: AppendOptions
  readonly tries: Tries
}
