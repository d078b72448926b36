import { Data, Either, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

export const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))

const Amount = Schema.Int.pipe(Schema.positive())

export const AccountState = Schema.Struct({
  owner: Schema.NullOr(Schema.String),
  balance: Schema.Int
})

export class Opened extends Schema.TaggedClass<Opened>()("Opened", { owner: Schema.String }) {}
export class Deposited extends Schema.TaggedClass<Deposited>()("Deposited", { amount: Amount }) {}
export class Withdrawn extends Schema.TaggedClass<Withdrawn>()("Withdrawn", { amount: Amount }) {}

export class Open extends Schema.TaggedClass<Open>()("Open", { owner: Schema.String }) {}
export class Deposit extends Schema.TaggedClass<Deposit>()("Deposit", { amount: Amount }) {}
export class Withdraw extends Schema.TaggedClass<Withdraw>()("Withdraw", { amount: Amount }) {}

export class NotOpen extends Data.TaggedError("NotOpen") {}
export class AlreadyOpen extends Data.TaggedError("AlreadyOpen") {}
export class InsufficientFunds extends Data.TaggedError("InsufficientFunds")<{ readonly balance: number }> {}

const makeAccount = (schemaVersion: number) =>
  Aggregate.make({
    name: "Account",
    id: AccountId,
    state: AccountState,
    event: Schema.Union(Opened, Deposited, Withdrawn),
    command: Schema.Union(Open, Deposit, Withdraw),
    schemaVersion,
    initial: () => ({ owner: null, balance: 0 }),
    evolve: (state, event) => {
      switch (event._tag) {
        case "Opened":
          return { ...state, owner: event.owner }
        case "Deposited":
          return { ...state, balance: state.balance + event.amount }
        case "Withdrawn":
          return { ...state, balance: state.balance - event.amount }
      }
    },
    decide: (state, command) => {
      if (command._tag === "Open") {
        return state.owner === null
          ? Either.right([new Opened({ owner: command.owner })])
          : Either.left(new AlreadyOpen())
      }
      if (state.owner === null) return Either.left(new NotOpen())
      if (command._tag === "Deposit") return Either.right([new Deposited({ amount: command.amount })])
      return state.balance < command.amount
        ? Either.left(new InsufficientFunds({ balance: state.balance }))
        : Either.right([new Withdrawn({ amount: command.amount })])
    }
  })

export const Account = makeAccount(1)

/** The same account at version 2 of its state's schema, as after a change of the state's meaning. */
export const AccountV2 = makeAccount(2)
