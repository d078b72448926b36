import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import { Cause, FastCheck as fc } from "effect"
import { CheckpointStore, EventStore } from "effect-eventsourcing"
import * as Failures from "../../src/internal/projection/failures.js"

const tagOf = (error: unknown, isPassing: (error: unknown) => boolean = () => false) =>
  Failures.classify(Cause.fail(error), isPassing)._tag

/** An error of a driver, as `@effect/sql` wraps it. */
const sqlError = (cause: unknown) => ({ _tag: "SqlError", message: "failed", cause })
const postgres = (code: string) => Object.assign(new Error("refused"), { code, severity: "ERROR" })
const sqlite = (code: string) => Object.assign(new Error("refused"), { code })

const wrapped = (error: unknown, depth: number): unknown =>
  depth === 0 ? error : new Error("wrapped", { cause: wrapped(error, depth - 1) })

// by class: https://www.postgresql.org/docs/current/errcodes-appendix.html
const classes = {
  Passing: ["03", "08", "09", "0L", "25", "26", "28", "34", "40", "53", "55", "57", "58", "72", "F0", "HV", "XX"],
  Poison: ["0A", "21", "22", "23", "42", "44", "54", "P0"]
} as const

const codes = {
  Passing: [
    "BUSY",
    "BUSY_SNAPSHOT",
    "LOCKED",
    "IOERR",
    "IOERR_READ",
    "FULL",
    "NOMEM",
    "INTERRUPT",
    "PROTOCOL",
    "CANTOPEN"
  ],
  Poison: ["ERROR", "CONSTRAINT", "CONSTRAINT_UNIQUE", "MISMATCH", "TOOBIG", "RANGE", "MISUSE", "SCHEMA"]
} as const

const isWellFormed = (text: string): boolean => !/[\uD800-\uDFFF]/u.test(text)

const depth = fc.integer({ min: 0, max: 5 })

describe("a failure of a handler", () => {
  for (const expected of ["Passing", "Poison"] as const) {
    for (const start of classes[expected]) {
      it(`with SQLSTATE ${start} is ${expected}, however it is wrapped`, () => {
        const code = fc.stringMatching(/^[0-9A-Z]{3}$/).filter((rest) => start + rest !== "25P02")
        fc.assert(fc.property(code, depth, fc.boolean(), (rest, depth, isDefect) => {
          const error = wrapped(sqlError(postgres(start + rest)), depth)
          const cause = isDefect ? Cause.die(error) : Cause.fail(error)
          assert.strictEqual(Failures.classify(cause, () => false)._tag, expected)
        }))
      })
    }
    for (const code of codes[expected]) {
      it(`with SQLITE_${code} is ${expected}, however it is wrapped`, () => {
        fc.assert(fc.property(depth, (depth) => {
          assert.strictEqual(tagOf(wrapped(sqlError(sqlite(`SQLITE_${code}`)), depth)), expected)
        }))
      })
    }
  }

  it("after a failed statement that the handler caught is poison", () => {
    assert.strictEqual(tagOf(sqlError(postgres("25P02"))), "Poison")
  })

  it("of a connection passes", () => {
    for (
      const code of ["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND"]
    ) {
      assert.strictEqual(tagOf(wrapped(sqlite(code), 1)), "Passing", code)
    }
    assert.strictEqual(tagOf(sqlError(new Error("Connection terminated unexpectedly"))), "Passing")
    assert.strictEqual(tagOf(sqlError(undefined)), "Passing")
  })

  it("of a store passes if the store is away, unless its cause was refused", () => {
    const of = (reason: "Unavailable" | "InvalidInput", cause?: unknown) =>
      new EventStore.EventStoreError({ operation: "append", reason, mayHaveAppended: false, detail: "", cause })
    assert.strictEqual(tagOf(of("Unavailable")), "Passing")
    assert.strictEqual(tagOf(of("Unavailable", new Error("no code"))), "Passing")
    assert.strictEqual(tagOf(of("Unavailable", sqlError(postgres("40P01")))), "Passing")
    assert.strictEqual(tagOf(of("Unavailable", sqlError(postgres("23505")))), "Poison")
    assert.strictEqual(tagOf(of("InvalidInput")), "Poison")
  })

  it("of the checkpoint store may be unknown, and a lost lease is lost", () => {
    const of = (mayHaveHappened: boolean) =>
      new CheckpointStore.CheckpointStoreError({
        operation: "advance",
        reason: "Unavailable",
        mayHaveHappened,
        detail: ""
      })
    assert.strictEqual(tagOf(of(true)), "Unknown")
    assert.strictEqual(tagOf(of(false)), "Passing")
    assert.strictEqual(
      tagOf(new CheckpointStore.LeaseLost({ subscription: "a", version: 1, index: 0, epoch: 1 })),
      "Lost"
    )
  })

  it("is what `isPassing` says, unless that throws", () => {
    assert.strictEqual(tagOf("busy", (error) => error === "busy"), "Passing")
    assert.strictEqual(
      tagOf("busy", () => {
        throw new Error("broken")
      }),
      "Poison"
    )
  })

  it("may be any value: it is classified, and its reason is a text that every store can keep", () => {
    const throwing = new Proxy({}, {
      get: () => {
        throw new Error("hostile")
      },
      getPrototypeOf: () => {
        throw new Error("hostile")
      },
      has: () => {
        throw new Error("hostile")
      }
    })
    const circular: { cause?: unknown } = {}
    circular.cause = circular
    const message = Object.defineProperty(new Error(), "message", {
      get: () => {
        throw new Error("hostile")
      }
    })
    const hostile = [throwing, circular, message, Object.create(null), Symbol("s"), null, undefined, () => 1, 1n]
    const check = (error: unknown, isDefect: boolean) => {
      const failed = Failures.classify(isDefect ? Cause.die(error) : Cause.fail(error), () => false)
      const reason = "reason" in failed ? failed.reason : ""
      assert.isAtMost(reason.length, 2_000)
      assert.isFalse(reason.includes("\u0000"))
      assert.isTrue(isWellFormed(reason))
    }
    // fast-check itself looks into its constants
    for (const error of hostile) for (const isDefect of [false, true]) check(error, isDefect)
    fc.assert(fc.property(fc.anything(), fc.boolean(), check))
  })

  it("of a statement names what the database said and its code, without the values of rows", () => {
    const reasonOf = (cause: unknown) => {
      const error = new SqlError({ cause, message: "Failed to execute statement" })
      const failed = Failures.classify(Cause.fail(error), () => false)
      return "reason" in failed ? failed.reason : ""
    }
    const missing = Object.assign(new Error("no such table: balances"), { code: "SQLITE_ERROR" })
    assert.strictEqual(
      reasonOf(missing),
      "SqlError: Failed to execute statement: no such table: balances (SQLITE_ERROR)"
    )
    const quoting = Object.assign(new Error("invalid input syntax for type integer: \"secret\""), {
      code: "22P02",
      severity: "ERROR"
    })
    assert.include(reasonOf(quoting), "the server refused a value, with the text that is in the cause (22P02)")
    const raised = Object.assign(new Error("secret"), { code: "SQLITE_CONSTRAINT_TRIGGER" })
    assert.include(reasonOf(raised), "a trigger or a function of the database refused it")
    for (const cause of [quoting, raised]) assert.notInclude(reasonOf(cause), "secret")
    assert.strictEqual(reasonOf(undefined), "SqlError: Failed to execute statement")
  })

  it("has a reason of bounded length", () => {
    const failed = Failures.classify(Cause.fail(new Error("x".repeat(1_000_000))), () => false)
    assert.strictEqual("reason" in failed && failed.reason.length, 2_000)
    const cut = Failures.classify(Cause.fail("\u{1F600}".repeat(1_500).slice(1)), () => false)
    assert.isTrue("reason" in cut && isWellFormed(cut.reason))
  })
})
