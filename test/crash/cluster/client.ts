// sends commands to the entities of a cluster, and says of each what it asked for and what was answered; one in five goes
// to a plain repository beside the cluster, which makes the states of the entities old
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Option } from "effect"
import { Repository, SqlStores } from "effect-eventsourcing"
import { AggregateEntity } from "effect-eventsourcing/cluster"
import { PCGRandom } from "effect/Utils"
import * as fs from "node:fs"
import * as readline from "node:readline"
import { Account, deposit, id, open, withdraw } from "../../cluster/fixture.js"
import { pgClient } from "../../utils/postgres.js"
import type { Answer, ClientOrders, Command, Said } from "./protocol.js"
import { clientOf, entityOf, storesPrefix, timeout } from "./settings.js"

const orders: ClientOrders = JSON.parse(process.argv[2])

// written at once: the order of the lines is the order of the calls and answers
const say = (line: Said) => fs.writeSync(1, `${JSON.stringify(line)}\n`)

const random = new PCGRandom(orders.seed)
const below = (n: number) => Math.floor(random.number() * n)

const all = Array.from({ length: orders.ids }, (_, n) => `a${n}`)

// a few ids are hot
const chosenId = () => all[below(2) === 0 ? below(10) : below(all.length)]

const amountCommand = (): Command =>
  // larger withdrawals than deposits: many are rejected
  below(2) === 0 ? { _tag: "Deposit", amount: 1 + below(10) } : { _tag: "Withdraw", amount: 1 + below(20) }

const chosenCommands = (): ReadonlyArray<Command> => {
  const kind = below(40)
  if (kind === 0) return [{ _tag: "Open" }]
  if (kind < 6) return []
  return Array.from({ length: kind < 10 ? 2 + below(2) : 1 }, amountCommand)
}

const toCommand = (command: Command) =>
  command._tag === "Open" ? open : command._tag === "Deposit" ? deposit(command.amount) : withdraw(command.amount)

/** What a repository and a client of entities have in common. */
type Entities = Pick<AggregateEntity.Client<typeof Account>, "executeAll" | "load">

type Failed =
  | Effect.Effect.Error<ReturnType<Entities["executeAll"]>>
  | Effect.Effect.Error<ReturnType<Entities["load"]>>

/** The answer that an error is. `undefined` if it has no reason here. */
const ofError = (error: Failed): Answer | undefined => {
  switch (error._tag) {
    case "NotOpen":
      return { _tag: "Rejected", rejection: { _tag: "NotOpen" } }
    case "InsufficientFunds":
      return { _tag: "Rejected", rejection: { _tag: "InsufficientFunds", balance: error.balance } }
    case "CommandTimeout":
    case "LoadTimeout":
      return { _tag: "Unknown", error: error.message }
    // the server was stopped
    case "EventStoreError":
      return error.reason === "InvalidInput"
        ? undefined
        : { _tag: error.mayHaveAppended ? "Unknown" : "Refused", error: error.message }
    default:
      return undefined
  }
}

let calls = 0

const ask = (entities: Entities, account: string, commands: ReadonlyArray<Command>) =>
  Effect.gen(function*() {
    const call = calls++
    const commandId = crypto.randomUUID()
    say({ _tag: "Call", call, id: account, commandId, commands })
    const asked = performance.now()
    const request: Effect.Effect<Answer, Failed> = commands.length === 0
      ? Effect.map(
        entities.load(id(account)),
        ({ state, version }): Answer => ({ _tag: "Loaded", version, state: stateOf(state) })
      )
      : Effect.map(
        entities.executeAll(id(account), commands.map(toCommand), { commandId }),
        ({ duplicate, events, state, version }): Answer => ({
          _tag: "Executed",
          version,
          events: events.length,
          duplicate,
          state: stateOf(state)
        })
      )
    const exit = yield* Effect.exit(request)
    const answer = Exit.isSuccess(exit)
      ? exit.value
      : Option.getOrUndefined(Option.flatMapNullable(Cause.failureOption(exit.cause), ofError))
    if (answer !== undefined) {
      say({ _tag: "Answer", call, took: Math.round(performance.now() - asked), answer })
    } else if (Exit.isFailure(exit)) {
      say({ _tag: "Bad", problem: `call ${call} of ${account}: ${Cause.pretty(exit.cause)}` })
    }
  })

const stateOf = ({ balance, open }: { readonly open: boolean; readonly balance: number }) => ({ open, balance })

let paused = true
let busy = 0
const go = Effect.unsafeMakeLatch(false)

const pausedSaid = () => {
  if (paused && busy === 0) say({ _tag: "Paused" })
}

const program = Effect.gen(function*() {
  const entities = yield* AggregateEntity.client(entityOf(orders.settings), {
    timeout,
    attemptTimeout: orders.settings.attemptTimeout
  })
  const plain: Entities = yield* Repository.make(Account)
  const sweep = Effect.forEach(all, (account) => ask(entities, account, []), {
    concurrency: orders.fibers,
    discard: true
  }).pipe(Effect.zipRight(Effect.sync(() => say({ _tag: "Swept" }))))
  const unopened = all.slice()
  const run = yield* Effect.runtime<never>()
  readline.createInterface({ input: process.stdin })
    .on("line", (line) => {
      if (line === "sweep") return void Effect.runFork(Effect.provide(sweep, run))
      paused = line === "pause"
      if (!paused) return go.unsafeOpen()
      go.unsafeClose()
      // otherwise the last call to end says so
      pausedSaid()
    })
    // the process that started this one is gone
    .on("close", () => process.exit(0))
  const one = Effect.suspend(() => {
    if (paused) return Effect.void
    busy++
    return Effect.ensuring(
      Effect.suspend(() => {
        const account = unopened.pop()
        return account === undefined
          ? ask(below(5) === 0 ? plain : entities, chosenId(), chosenCommands())
          : ask(entities, account, [{ _tag: "Open" }])
      }),
      Effect.sync(() => {
        busy--
        pausedSaid()
      })
    )
  })
  const fiber = Effect.forever(
    go.await.pipe(Effect.zipRight(one), Effect.zipRight(Effect.suspend(() => Effect.sleep(below(20)))))
  )
  say({ _tag: "Ready" })
  yield* Effect.replicateEffect(fiber, orders.fibers, { concurrency: "unbounded", discard: true })
})

Effect.runFork(
  program.pipe(
    Effect.scoped,
    Effect.provide(
      Layer.provide(
        Layer.merge(clientOf(orders.settings), SqlStores.layerWith(storesPrefix)),
        pgClient(orders.database, { maxConnections: 6 })
      )
    ),
    Effect.tapErrorCause((cause) => Effect.sync(() => say({ _tag: "Bad", problem: Cause.pretty(cause) }))),
    Logger.withMinimumLogLevel(process.env.CRASH_LOG === undefined ? LogLevel.None : LogLevel.Warning)
  )
)
