// a projection without services, as the pages show it
import { Effect } from "effect"
import { Projection } from "effect-eventsourcing"
import { Account } from "../../fixtures/Account.js"

export const Balances = Projection.make({ name: "balances", on: [Account], handle: () => Effect.void })
