import { BigDecimal, Effect, Either, Schema } from "effect"
import {
  Aggregate,
  type Event,
  EventStore,
  ExpectedVersion,
  Repository,
  type SnapshotStore,
  StreamId
} from "effect-eventsourcing"

const Id = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))
export const id = (text: string) => Id.make(text)

// ---- plain events, about a hundred bytes each

const Opened = Schema.TaggedStruct("Opened", { owner: Schema.String, currency: Schema.String })
const Deposited = Schema.TaggedStruct("Deposited", {
  amount: Schema.Int,
  reference: Schema.String,
  channel: Schema.Literal("branch", "card", "transfer")
})
const Withdrawn = Schema.TaggedStruct("Withdrawn", { amount: Schema.Int, reference: Schema.String, atm: Schema.String })
const FeeCharged = Schema.TaggedStruct("FeeCharged", { amount: Schema.Int, reason: Schema.String })
const OwnerChanged = Schema.TaggedStruct("OwnerChanged", { owner: Schema.String, approvedBy: Schema.String })

const AccountEvent = Schema.Union(Opened, Deposited, Withdrawn, FeeCharged, OwnerChanged)
export type AccountEvent = typeof AccountEvent.Type

const AccountState = Schema.Struct({
  owner: Schema.String,
  currency: Schema.String,
  balance: Schema.Int,
  fees: Schema.Int,
  transactions: Schema.Int,
  lastReference: Schema.String
})
export type AccountState = typeof AccountState.Type

export const initial = (): AccountState => ({
  owner: "",
  currency: "",
  balance: 0,
  fees: 0,
  transactions: 0,
  lastReference: ""
})

/** The one reducer of all contenders. */
export const evolve = (state: AccountState, event: AccountEvent): AccountState => {
  switch (event._tag) {
    case "Opened":
      return { ...state, owner: event.owner, currency: event.currency }
    case "Deposited":
      return {
        ...state,
        balance: state.balance + event.amount,
        transactions: state.transactions + 1,
        lastReference: event.reference
      }
    case "Withdrawn":
      return {
        ...state,
        balance: state.balance - event.amount,
        transactions: state.transactions + 1,
        lastReference: event.reference
      }
    case "FeeCharged":
      return { ...state, balance: state.balance - event.amount, fees: state.fees + event.amount }
    case "OwnerChanged":
      return { ...state, owner: event.owner }
  }
}

export const deposited: AccountEvent = Deposited.make({
  amount: 1_250,
  reference: "2024-06-30/invoice/000042",
  channel: "transfer"
})

/** The event of a version. */
export const eventAt = (version: number): AccountEvent => {
  if (version === 1) return Opened.make({ owner: "Ada Lovelace, 12 St James's Square, London", currency: "GBP" })
  switch (version % 10) {
    case 0:
      return OwnerChanged.make({ owner: `Owner ${version}, 12 St James's Square, London`, approvedBy: "branch 17" })
    case 3:
    case 6:
      return Withdrawn.make({ amount: 20, reference: `2024-06-30/card/${version}`, atm: "Pall Mall 5, machine 2" })
    case 9:
      return FeeCharged.make({ amount: 1, reason: `card fee of the month, statement ${version}, per the 2024 terms` })
    default:
      return Deposited.make({ amount: 100, reference: `2024-06-30/invoice/${version}`, channel: "transfer" })
  }
}

const AccountCommand = Schema.TaggedStruct("Deposit", { amount: Schema.Int, reference: Schema.String })
export const deposit = AccountCommand.make({ amount: 1_250, reference: "2024-06-30/invoice/000042" })

export const decide = (_state: AccountState, command: typeof AccountCommand.Type): ReadonlyArray<AccountEvent> => [
  { _tag: "Deposited", amount: command.amount, reference: command.reference, channel: "transfer" }
]

export const Account = Aggregate.make({
  name: "Account",
  id: Id,
  state: AccountState,
  event: AccountEvent,
  command: AccountCommand,
  initial,
  evolve,
  decide: (state, command) => Either.right(decide(state, command))
})

// ---- events whose decoding is work: the schema's, not the library's

class Metered extends Schema.TaggedClass<Metered>()("Metered", {
  meter: Schema.String,
  amount: Schema.Int,
  note: Schema.String
}) {}

const Total = Schema.Struct({ total: Schema.Int })
const nothing = Schema.TaggedStruct("Nothing", {})
const refuse = () => Either.right([])

export const WithClasses = Aggregate.make({
  name: "WithClasses",
  id: Id,
  state: Total,
  event: Metered,
  command: nothing,
  initial: () => ({ total: 0 }),
  evolve: (state, event) => ({ total: state.total + event.amount }),
  decide: refuse
})

const Invoiced = Schema.TaggedStruct("Invoiced", {
  invoice: Schema.UUID,
  due: Schema.Date,
  net: Schema.BigDecimal,
  amount: Schema.Int
})

export const WithDatesAndDecimals = Aggregate.make({
  name: "WithDatesAndDecimals",
  id: Id,
  state: Total,
  event: Invoiced,
  command: nothing,
  initial: () => ({ total: 0 }),
  evolve: (state, event) => ({ total: state.total + event.amount }),
  decide: refuse
})

const Imported = Schema.TaggedStruct("Imported", {
  lines: Schema.Array(Schema.Struct({ sku: Schema.String, quantity: Schema.Int, text: Schema.String })),
  amount: Schema.Int
})

export const WithBigEvents = Aggregate.make({
  name: "WithBigEvents",
  id: Id,
  state: Total,
  event: Imported,
  command: nothing,
  initial: () => ({ total: 0 }),
  evolve: (state, event) => ({ total: state.total + event.amount }),
  decide: refuse
})

const line = { sku: "SKU-000017", quantity: 3, text: "a line of an order, with a text of some sixty characters" }

class Line extends Schema.Class<Line>("Line")({
  sku: Schema.String,
  quantity: Schema.Int,
  due: Schema.Date,
  net: Schema.BigDecimal
}) {}

class Ordered extends Schema.TaggedClass<Ordered>()("Ordered", {
  lines: Schema.Array(Line),
  amount: Schema.Int
}) {}

export const WithBigClasses = Aggregate.make({
  name: "WithBigClasses",
  id: Id,
  state: Total,
  event: Ordered,
  command: nothing,
  initial: () => ({ total: 0 }),
  evolve: (state, event) => ({ total: state.total + event.amount }),
  decide: refuse
})

/** A stream of one event over and over, how the library loads it, and how a floor reduces it. */
export interface Heavy {
  readonly label: string
  readonly stream: StreamId.StreamId
  readonly payload: { readonly _tag: string }
  readonly load: Effect.Effect<unknown, unknown, EventStore.EventStore | SnapshotStore.SnapshotStore>
  readonly reduce: {
    readonly "not decoding": (
      state: { readonly total: number },
      payload: { readonly amount: number }
    ) => { readonly total: number }
    readonly decoding: (state: { readonly total: number }, payload: unknown) => { readonly total: number }
  }
}

const heavyOf = <
  Name extends string,
  State,
  Event extends { readonly amount: number },
  Encoded extends { readonly _tag: string },
  Command,
  Rejection
>(
  label: string,
  aggregate: Aggregate.Aggregate<Name, ReturnType<typeof id>, State, Event, Command, Rejection>,
  schema: Schema.Schema<Event, Encoded>,
  event: Event
): Heavy => {
  const decode = Schema.decodeUnknownSync(schema)
  return {
    label,
    stream: StreamId.make(aggregate.name, "heavy"),
    payload: Schema.encodeSync(schema)(event),
    load: Effect.scoped(Effect.flatMap(Repository.make(aggregate), (repository) => repository.load(id("heavy")))),
    reduce: {
      "not decoding": (state, payload) => ({ total: state.total + payload.amount }),
      decoding: (state, payload) => ({ total: state.total + decode(payload).amount })
    }
  }
}

export const heavy: ReadonlyArray<Heavy> = [
  heavyOf(
    "class events",
    WithClasses,
    Metered,
    new Metered({ meter: "m-000017", amount: 12, note: "read by the night shift, 0417" })
  ),
  heavyOf(
    "events with UUID, Date and BigDecimal",
    WithDatesAndDecimals,
    Invoiced,
    Invoiced.make({
      invoice: "0190163d-8694-739b-aea5-966c26f8ad91",
      due: new Date(1_719_705_600_000),
      net: BigDecimal.unsafeFromString("1234.5678"),
      amount: 123_456
    })
  ),
  heavyOf(
    "events of 10 KB",
    WithBigEvents,
    Imported,
    Imported.make({ lines: Array.from({ length: 85 }, () => line), amount: 300 })
  ),
  heavyOf(
    "class events of 10 KB",
    WithBigClasses,
    Ordered,
    new Ordered({
      lines: Array.from({ length: 110 }, () =>
        new Line({
          sku: "SKU-000017",
          quantity: 3,
          due: new Date(1_719_705_600_000),
          net: BigDecimal.unsafeFromString("1234.5678")
        })),
      amount: 300
    })
  )
]

/** Ids that grow, as those of the library do: they keep an index together, for whoever has one. */
export const newId = (): string => {
  const time = Date.now().toString(16).padStart(12, "0")
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`
}

export const streamOf = (name: string) => StreamId.make(Account.name, name)

/** Appends to a stream what it lacks of so many events, thousands at a time. */
export const seed = (
  stream: StreamId.StreamId,
  events: number,
  eventOf: (version: number) => { readonly _tag: string } = eventAt
) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (let version = yield* store.version(stream); version < events;) {
      const page = Array.from({ length: Math.min(5_000, events - version) }, (_, index): Event.ProposedEvent => {
        const payload = eventOf(version + index + 1)
        return { id: newId(), type: payload._tag, payload }
      })
      const appended = yield* store.append(stream, page, { expectedVersion: ExpectedVersion.exact(version) })
      version = appended.version
    }
  })
