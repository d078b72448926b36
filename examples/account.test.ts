import { AggregateLaws } from "effect-eventsourcing/testing"
import { Account } from "./account.js"

AggregateLaws.suite(Account, { invariant: (state) => state.balance >= 0 })
AggregateLaws.suite(Account, { histories: "events" })
