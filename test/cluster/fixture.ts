import { Effect, Either, Option, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"
import * as net from "node:net"

export const Opened = Schema.TaggedStruct("Opened", {})
export const Deposited = Schema.TaggedStruct("Deposited", { amount: Schema.Int, on: Schema.Date })
export const Withdrawn = Schema.TaggedStruct("Withdrawn", { amount: Schema.Int })

export const Open = Schema.TaggedStruct("Open", {})
export const Deposit = Schema.TaggedStruct("Deposit", { amount: Schema.Int, on: Schema.Date })
export const Withdraw = Schema.TaggedStruct("Withdraw", { amount: Schema.Int })
/** A command for which `decide` throws. */
export const Throw = Schema.TaggedStruct("Throw", {})

export class NotOpen extends Schema.TaggedError<NotOpen>()("NotOpen", {}) {}
export class InsufficientFunds
  extends Schema.TaggedError<InsufficientFunds>()("InsufficientFunds", { balance: Schema.Int, since: Schema.Date })
{}

const day = new Date("2026-01-02T03:04:05.678Z")

/** An account whose commands, events, state and rejections have a form of their own when they travel. */
export const Account = Aggregate.make({
  name: "Account",
  id: Schema.NonEmptyString.pipe(Schema.brand("AccountId")),
  state: Schema.Struct({ open: Schema.Boolean, balance: Schema.Int, last: Schema.OptionFromNullOr(Schema.Date) }),
  event: Schema.Union(Opened, Deposited, Withdrawn),
  command: Schema.Union(Open, Deposit, Withdraw, Throw),
  rejection: Schema.Union(NotOpen, InsufficientFunds),
  initial: () => ({ open: false, balance: 0, last: Option.none() }),
  evolve: {
    Opened: (state) => ({ ...state, open: true }),
    Deposited: (state, { amount, on }) => ({ ...state, balance: state.balance + amount, last: Option.some(on) }),
    Withdrawn: (state, { amount }) => ({ ...state, balance: state.balance - amount })
  },
  decide: {
    Open: (state) => Either.right(state.open ? [] : [Opened.make()]),
    Deposit: (state, { amount, on }) =>
      state.open ? Either.right([Deposited.make({ amount, on })]) : Either.left(new NotOpen()),
    Withdraw: (state, { amount }) =>
      !state.open
        ? Either.left(new NotOpen())
        : state.balance < amount
        ? Either.left(new InsufficientFunds({ balance: state.balance, since: day }))
        : Either.right([Withdrawn.make({ amount })]),
    Throw: () => {
      throw new RangeError("decide threw")
    }
  }
})

export const id = (text: string) => Account.schemas.id.make(text)

export const open = { _tag: "Open" } as const
export const deposit = (amount: number) => ({ _tag: "Deposit", amount, on: day }) as const
export const withdraw = (amount: number) => ({ _tag: "Withdraw", amount }) as const

export const last = Option.some(day)

/** A port that is free now. */
export const freePort = Effect.async<number>((resume) => {
  const server = net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})
