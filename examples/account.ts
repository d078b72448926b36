import { Data, Either, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

export const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))

const Amount = Schema.Int.pipe(Schema.positive())

export const AccountState = Schema.Struct({
  owner: Schema.NullOr(Schema.String),
  balance: Schema.Int
})

export const AccountEvent = Schema.Union(
  Schema.TaggedStruct("Opened", { owner: Schema.String }),
  Schema.TaggedStruct("Deposited", { amount: Amount }),
  Schema.TaggedStruct("Withdrawn", { amount: Amount })
)

export const AccountCommand = Schema.Union(
  Schema.TaggedStruct("Open", { owner: Schema.String }),
  Schema.TaggedStruct("Deposit", { amount: Amount }),
  Schema.TaggedStruct("Withdraw", { amount: Amount })
)

export class NotOpen extends Data.TaggedError("NotOpen") {}
export class AlreadyOpen extends Data.TaggedError("AlreadyOpen") {}
export class InsufficientFunds extends Data.TaggedError("InsufficientFunds")<{ readonly balance: number }> {}

const makeAccount = (schemaVersion: number) =>
  Aggregate.make({
    name: "Account",
    id: AccountId,
    state: AccountState,
    event: AccountEvent,
    command: AccountCommand,
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
          ? Either.right([{ _tag: "Opened", owner: command.owner }])
          : Either.left(new AlreadyOpen())
      }
      if (state.owner === null) return Either.left(new NotOpen())
      if (command._tag === "Deposit") return Either.right([{ _tag: "Deposited", amount: command.amount }])
      return state.balance < command.amount
        ? Either.left(new InsufficientFunds({ balance: state.balance }))
        : Either.right([{ _tag: "Withdrawn", amount: command.amount }])
    }
  })

export const Account = makeAccount(1)

/** The same account after a change to what its state means: version 2 of the state's schema. */
export const AccountV2 = makeAccount(2)
