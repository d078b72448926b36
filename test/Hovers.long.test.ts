import { assert, describe, it } from "@effect/vitest"
import * as childProcess from "node:child_process"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const root = fileURLToPath(new URL("..", import.meta.url))

describe("an editor shows", () => {
  it("the names of a program's own classes", async () => {
    const { stdout } = await promisify(childProcess.execFile)(
      process.execPath,
      ["--import", "tsx", path.join(root, "test/utils/hovers.ts")],
      { cwd: root }
    )
    const shown = JSON.parse(stdout)
    const id = `string & Brand<"AccountId">`
    const account = `Aggregate.Aggregate<"Account", ${id}, AccountState, Deposited | Withdrawn, Deposit | Withdraw, ` +
      "InsufficientFunds, { readonly id: Schema.brand<typeof Schema.String, \"AccountId\">; " +
      "readonly state: typeof AccountState; readonly event: Schema.Union<[typeof Deposited, typeof Withdrawn]>; " +
      "readonly command: Schema.Union<[typeof Deposit, typeof Withdraw]>; }>"
    const withoutOwner = (text: string) => text.replace(/^\(property\) .*>\./, "")
    assert.strictEqual(
      withoutOwner(shown.execute),
      `execute: (id: ${id}, command: Deposit | Withdraw, options?: Repository.ExecuteOptions) => ` +
        "Effect.Effect<Repository.Executed<AccountState, Deposited | Withdrawn>, " +
        "InsufficientFunds | Repository.ExecuteError, never>"
    )
    assert.strictEqual(
      withoutOwner(shown.load),
      `load: (id: ${id}) => Effect.Effect<Repository.Loaded<${id}, AccountState>, Repository.LoadError, never>`
    )
    assert.strictEqual(shown.accounts, `const accounts: Repository.Repository<${account}>`)
    assert.strictEqual(shown.account, `const Account: ${account}`)
    assert.strictEqual(
      shown.accountsLive,
      "const AccountsLive: Layer<Accounts, InvalidOption, EventStore | SnapshotStore>"
    )
    assert.match(shown.make, /^const make: <"Account", .*AccountState.*Deposited \| Withdrawn/)
    assert.match(
      shown.layer,
      /^const layer: <Accounts, Aggregate\.Aggregate<"Account", .*\(tag: Context\.Tag</
    )
    assert.deepStrictEqual(shown.completions, ["_tag", "amount"])
    // with handlers, a command meets only the rejections of its own
    assert.strictEqual(
      withoutOwner(shown.deposit),
      `execute: <"OpenTill">(id: string, command: OpenTill & { readonly _tag: "OpenTill"; }, ` +
        "options?: Repository.ExecuteOptions) => " +
        "Effect.Effect<Repository.Executed<AccountState, Deposited | Withdrawn>, Repository.ExecuteError, never>"
    )
    assert.strictEqual(shown.handlerCommand, "(parameter) command: NoInfer<PayOut>")
    assert.strictEqual(shown.handlerEvent, "(parameter) event: NoInfer<Withdrawn>")
    assert.match(
      shown.till,
      /^const Till: Aggregate\.Handled<"Till", .*\{ readonly OpenTill: never; readonly PayOut: InsufficientFunds; \}/
    )
    const withdrawn = `Aggregate.DecodedEvent<"Account", ${id}, Withdrawn>`
    assert.strictEqual(shown.projectionEvents, `(parameter) events: readonly [${withdrawn}, ...${withdrawn}[]]`)
    assert.strictEqual(shown.projection, `const Withdrawals: Projection.Projection<${withdrawn}, never, Mailer>`)
    const services = "EventStore | Mailer | CheckpointStore"
    assert.strictEqual(shown.projectionLayer, `const WithdrawalsLive: Layer<never, StartError, ${services}>`)
    assert.strictEqual(
      shown.visible,
      "const visible: Effect.Effect<Repository.Executed<AccountState, Deposited | Withdrawn>, " +
        "InsufficientFunds | Repository.ExecuteError | Projections.AwaitError, Accounts | CheckpointStore>"
    )
  }, 120_000)
})
