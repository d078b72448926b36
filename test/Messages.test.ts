// errors, log lines and spans say where and why, and no value of the user's: a value that is a secret stands nowhere
import { SqlClient } from "@effect/sql"
import { Cause, Data, Effect, Either, Layer, Logger, ParseResult, Redacted, Schedule, Schema, Stream } from "effect"
import {
  Aggregate,
  EventStore,
  ExpectedVersion,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  StreamId
} from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import { inspect } from "node:util"
import { assert, describe, it, vi } from "vitest"
import { reason } from "../src/internal/schema/reason.js"
import { holdsSecret, withoutSecrets } from "../src/internal/schema/secrets.js"
import { postgresTemporaryDatabase, sqliteFile, sqlStores } from "./utils/backends.js"
import { eventually, tracing } from "./utils/observe.js"

/** A value of the user's. */
const value = "VALUE-4711"
/** A value of a field that is Redacted. */
const secret = "SECRET-0815"

const Token = Schema.Redacted(Schema.String)

const Stored = Schema.TaggedStruct("Stored", {
  token: Token,
  tokens: Schema.optional(Schema.Array(Schema.NullOr(Token))),
  card: Schema.optional(Schema.Redacted(Schema.Struct({ number: Schema.Int, code: Token }))),
  note: Schema.String.pipe(Schema.maxLength(20)),
  amount: Schema.optional(Schema.Int),
  at: Schema.optional(Schema.transform(Schema.String, Schema.String, {
    strict: true,
    decode: (text) => {
      if (text.startsWith("throw")) throw new Error(`cannot read ${text}`)
      return text
    },
    encode: (text) => text
  }))
})

const State = Schema.Struct({
  token: Schema.NullOr(Token),
  notes: Schema.Array(Schema.String).pipe(Schema.maxItems(2)),
  sum: Schema.Number
})

const Vault = Aggregate.make({
  name: "Vault",
  id: Schema.String.pipe(Schema.maxLength(30)),
  state: State,
  event: Schema.Union(Stored, Schema.TaggedStruct("Emptied", {})),
  command: Schema.Unknown,
  initial: (): typeof State.Type => ({ token: null, notes: [], sum: 0 }),
  evolve: (state, event): typeof State.Type =>
    event._tag === "Emptied"
      ? state
      : { token: event.token, notes: [...state.notes, event.note], sum: state.sum + (event.amount ?? 0) },
  decide: (_state, command) => Either.right(commanded(command))
})

// what a program without types decides
const commanded = (command: unknown): ReadonlyArray<typeof Stored.Type> =>
  JSON.parse(JSON.stringify(command), (_, field) =>
    typeof field === "string" && field.startsWith("redacted:")
      ? Redacted.make(field.slice(9))
      : field === "NaN"
      ? NaN
      : field)

const stored = (more: Readonly<Record<string, unknown>> = {}) => [
  { _tag: "Stored", token: `redacted:${secret}`, note: value, ...more }
]

// -------------------------------------------------------------------------------------
// what is seen
// -------------------------------------------------------------------------------------

const loggers: ReadonlyArray<readonly [name: string, logger: Logger.Logger<unknown, unknown>]> = [
  ["string", Logger.stringLogger],
  ["logfmt", Logger.logfmtLogger],
  ["json", Logger.jsonLogger],
  ["structured", Logger.structuredLogger],
  ["pretty", Logger.prettyLogger({ colors: false, mode: "tty" })]
]

const text = (seen: unknown): string => typeof seen === "string" ? seen : inspect(seen, { depth: 20, showHidden: true })

/** Every line, by logger, and every span of what runs under it. */
const observed = <A, E, R>(effect: (seen: { readonly lines: Map<string, Array<string>> }) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines = new Map<string, Array<string>>(loggers.map(([name]) => [name, []]))
    const { spans, traced } = yield* tracing
    const note = (name: string, line: unknown) => void lines.get(name)?.push(text(line))
    const log = vi.spyOn(console, "log").mockImplementation((...parts) => note("pretty", parts.map(text).join(" ")))
    const added = loggers.reduce<Layer.Layer<never>>(
      (layer, [name, logger]) =>
        Layer.merge(
          layer,
          Logger.add(name === "pretty" ? logger : Logger.map(logger, (line) => note(name, line)))
        ),
      Logger.remove(Logger.defaultLogger)
    )
    yield* effect({ lines }).pipe(
      Effect.provide(added),
      traced,
      Effect.ensuring(Effect.sync(() => log.mockRestore()))
    )
    const shown = spans.map(({ attributes, name, status }) =>
      text([
        name,
        Array.from(attributes),
        // an exporter may write all of it
        status._tag === "Ended" ? status.exit : ""
      ])
    )
    for (const line of [...Array.from(lines.values()).flat(), ...shown]) {
      assert.notInclude(line, value)
      assert.notInclude(line, secret)
    }
    assert.isAbove(shown.length, 0)
  })

/** All messages of a failure, and all that a program could print of it. */
const checkFailure = (failure: unknown) => {
  assert.instanceOf(failure, Error)
  assert.notInclude(failure.message, value)
  const printed = [
    inspect(failure, { depth: 30, showHidden: true }),
    String(failure),
    JSON.stringify(failure),
    Cause.pretty(Cause.fail(failure), { renderErrorCause: true })
  ]
  let cause: unknown = failure
  while (cause instanceof Error) {
    printed.push(
      cause.message,
      cause.stack ?? "",
      ParseResult.isParseError(cause) ? inspect(cause.issue, { depth: 30 }) : ""
    )
    cause = cause.cause
  }
  for (const text of printed) assert.notInclude(text, secret)
}

// -------------------------------------------------------------------------------------
// what goes wrong
// -------------------------------------------------------------------------------------

/** Payloads that no longer decode, as text, and what the error says of each. */
const payloads: ReadonlyArray<readonly [says: string, payload: string]> = [
  ["$.note must be", JSON.stringify({ _tag: "Stored", token: secret, note: value.repeat(3) })],
  ["$.note is missing", JSON.stringify({ _tag: "Stored", token: secret })],
  ["$.amount must be", JSON.stringify({ _tag: "Stored", token: secret, note: value, amount: value })],
  ["$.token must be", JSON.stringify({ _tag: "Stored", token: { deep: secret }, note: value })],
  ["$.tokens[1]", JSON.stringify({ _tag: "Stored", token: secret, note: value, tokens: [secret, [secret]] })],
  ["the schema threw", JSON.stringify({ _tag: "Stored", token: secret, note: value, at: `throw ${value}` })],
  [
    "$.card.number must be",
    JSON.stringify({ _tag: "Stored", token: secret, note: value, card: { number: secret, code: secret } })
  ],
  [
    "$.card.code must be",
    JSON.stringify({ _tag: "Stored", token: secret, note: value, card: { number: 1, code: [secret] } })
  ],
  ["must be", JSON.stringify([secret, value])],
  ["is not JSON", `{"_tag":"Stored","token":"${secret}","note":"${value}" "`],
  ["is not JSON", `${secret} ${value}`]
]

/** Events that do not encode. */
const events: ReadonlyArray<readonly [says: string, event: Readonly<Record<string, unknown>>]> = [
  ["$.token must be", { token: secret }],
  ["$.note must be", { note: value.repeat(3) }],
  ["$.amount must be", { amount: value }],
  ["$.tokens", { tokens: [`redacted:${secret}`, secret] }],
  ["the schema threw", { at: `throw ${value}` }]
]

/** States in a snapshot that do not decode. */
const states: ReadonlyArray<readonly [says: string, state: string]> = [
  ["is not JSON", `${secret} ${value}`],
  ["$.sum must be", JSON.stringify({ token: secret, notes: [value], sum: value })],
  ["$.notes must be", JSON.stringify({ token: secret, notes: [value, value, value], sum: 1 })],
  ["$.token must be", JSON.stringify({ token: [secret], notes: [value], sum: 1 })]
]

const any = { expectedVersion: ExpectedVersion.any }

const program = (seen: { readonly lines: Map<string, Array<string>> }) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const store = yield* EventStore.EventStore
    const snapshots = yield* SnapshotStore.SnapshotStore
    /** What every logger has shown by now. */
    const logged = (what: string) =>
      eventually(
        Effect.sync(() =>
          Array.from(seen.lines.values()).every((lines) => lines.some((line) => new RegExp(what).test(line)))
        )
      )
    const failed = <A, E>(effect: Effect.Effect<A, E>, says: string) =>
      Effect.map(Effect.flip(effect), (failure) => {
        checkFailure(failure)
        assert.include(Object(failure).message, says)
      })
    const vaults = yield* Repository.make(Vault, { snapshots: SnapshotPolicy.sync({ every: 1 }) })

    yield* Effect.forEach(payloads, ([says, payload], index) =>
      Effect.gen(function*() {
        const id = `payload-${index}`
        yield* store.append(StreamId.make("Vault", id), [{ id, type: "Stored", payload: null }], any)
        yield* sql`UPDATE eventsourcing_events SET payload = ${payload} WHERE stream_id = ${id}`
        yield* failed(vaults.load(id), says)
        yield* failed(vaults.execute(id, stored()), says)
        if (says === "is not JSON") yield* failed(Stream.runDrain(store.read(StreamId.make("Vault", id))), says)
      }))
    yield* Effect.forEach(events, ([says, event]) => failed(vaults.execute("events", stored(event)), says))
    yield* failed(vaults.load(value.repeat(4)), "the id of the Vault does not encode: $ must be")
    yield* failed(
      vaults.execute("metadata", stored(), { metadata: { [value]: value, secret, n: NaN } }),
      "its metadata at $.n is NaN"
    )

    // snapshots that a load refuses, and saves that fail
    yield* Effect.forEach(states, ([says, state], index) =>
      Effect.gen(function*() {
        const id = `state-${index}`
        yield* vaults.execute(id, stored())
        yield* sql`UPDATE eventsourcing_snapshots SET state = ${state} WHERE stream_id = ${id}`
        const loaded = yield* vaults.load(id)
        checkFailure(loaded.snapshotOutcome)
        assert.include(Object(loaded.snapshotOutcome).message, says)
        yield* logged(says.replace(/[$]/g, "\\$&").replace(".", "\\."))
      }))
    const full = [...stored(), ...stored(), ...stored()]
    yield* vaults.execute("full", full)
    yield* logged("up to an hour: the state of .* at version 3 does not encode: \\$.notes must be")
    yield* failed(vaults.createSnapshot("full"), "$.notes must be")
    const down = SnapshotStore.SnapshotStore.of({
      ...snapshots,
      save: () =>
        new SnapshotStore.SnapshotStoreError({
          operation: "save",
          aggregate: "Vault",
          reason: "Unavailable",
          detail: "the disk is gone",
          cause: new Error(secret)
        })
    })
    const withDown = (snapshots: SnapshotPolicy.SnapshotPolicy) =>
      Effect.provideService(Repository.make(Vault, { snapshots }), SnapshotStore.SnapshotStore, down)
    const sync = yield* withDown(SnapshotPolicy.sync({ every: 1 }))
    yield* sync.execute("down", stored())
    yield* logged("a snapshot could not be saved; .*: the disk is gone")
    const background = yield* withDown(SnapshotPolicy.background({ every: 1, retry: Schedule.stop }))
    yield* background.execute("behind", stored())
    yield* background.awaitPendingSnapshots
    yield* logged("a background snapshot failed; .*: the disk is gone")
    const throwing = yield* Repository.make(Vault, {
      snapshots: SnapshotPolicy.sync({
        when: SnapshotPolicy.when(() => {
          throw new Error("the program's own")
        })
      })
    })
    yield* throwing.execute("throwing", stored())
    yield* logged("the snapshot policy threw; no snapshot is taken: the program's own")

    // a snapshot that is refuted, and one that cannot be verified
    const verified = yield* Repository.make(Vault, { snapshots: SnapshotPolicy.manual, verify: { sample: 1 } })
    yield* vaults.execute("refuted", stored())
    const other = JSON.stringify({ token: `${secret}-2`, notes: [`${value}-2`], sum: 0 })
    yield* sql`UPDATE eventsourcing_snapshots SET state = ${other} WHERE stream_id = 'refuted'`
    const verification = yield* verified.verify("refuted", { remove: false })
    assert.strictEqual(verification._tag, "Refuted")
    assert.notInclude(text(verification), secret)
    yield* verified.load("refuted")
    yield* logged("a snapshot was refuted")
    yield* sql`UPDATE eventsourcing_events SET payload = ${payloads[1][1]} WHERE stream_id = 'state-0'`
    yield* verified.load("state-0")
    yield* logged("a snapshot could not be verified: event 1 of")

    // what the database refuses
    yield* sql.onDialectOrElse({
      pg: () =>
        sql.unsafe(`CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN
IF NEW.stream_id = 'raise' THEN RAISE EXCEPTION 'not %', NEW.payload USING DETAIL = NEW.payload, HINT = NEW.payload; END IF;
IF NEW.stream_id = 'cast' THEN PERFORM NEW.payload::integer; END IF;
RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_events FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE eventsourcing_events ADD CONSTRAINT checked CHECK (stream_id <> 'check');
CREATE UNIQUE INDEX payloads ON eventsourcing_events (payload) WHERE stream_id = 'unique';
ALTER TABLE eventsourcing_snapshots ADD CONSTRAINT checked CHECK (stream_id <> 'check')`),
      orElse: () =>
        sql`CREATE TRIGGER refuse BEFORE INSERT ON eventsourcing_events WHEN NEW.stream_id IN ('raise', 'cast', 'check')
BEGIN SELECT RAISE(ABORT, 'planned'); END`
    })
    for (const id of ["raise", "cast", "check"]) {
      const payload = { token: secret, note: value }
      const failure = yield* Effect.flip(
        store.append(StreamId.make("Vault", id), [{ id, type: "Stored", payload }], any)
      )
      // what a trigger says, and what a type refuses, is for the author of both to decide
      if (id === "check") checkFailure(failure)
      else assert.notMatch(failure.message, /VALUE|SECRET/)
    }
    const refused = { aggregate: "Vault", id: "check" }
    const snapshot = { version: 1, eventId: "e", schemaVersion: 1, fingerprint: "f", state: `["${secret}"]`, time: 0 }
    yield* sql.onDialectOrElse({
      pg: () =>
        failed(snapshots.save({ stream: StreamId.make(refused.aggregate, refused.id), ...snapshot }), "checked"),
      orElse: () => Effect.void
    })
  }).pipe(Effect.scoped)

const clients: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteFile(":memory:")],
  ["PostgreSQL", postgresTemporaryDatabase]
]

for (const [name, client] of clients) {
  describe(`values of the user are not shown, on ${name}`, () => {
    it("by an error, a log line of any logger, or a span; and secrets are not in a cause", () =>
      Effect.runPromise(Effect.provide(observed(program), Layer.provideMerge(sqlStores, client))))
  })
}

describe("log lines", () => {
  it("are written in the modules of telemetry, with the reason as text", () => {
    const src = new URL("../src/", import.meta.url)
    const logging = fs.readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) =>
      file.endsWith(".ts") && /^(?! \*).*\bEffect\.log/m.test(fs.readFileSync(new URL(file, src), "utf8"))
    )
    assert.deepStrictEqual(new Set(logging.map((file) => path.basename(file))), new Set(["telemetry.ts"]))
  })

  class Down extends Data.TaggedError("Down")<{ readonly where: string }> {}
  const unreadable = Object.defineProperty(new Error(), "message", {
    get: () => {
      throw new Error("planned")
    }
  })
  for (
    const [what, cause, says] of [
      ["an error", new Error("no disk"), "no disk"],
      ["an error without a message", new Down({ where: value }), "Down"],
      ["a plain object with a tag", { _tag: "Down", where: value }, "Down"],
      ["a plain object", { where: value }, "a failure without a message"],
      ["a text", "no disk", "no disk"],
      ["nothing", undefined, "undefined"],
      ["an error that throws", unreadable, "the reason cannot be printed"]
    ] as const
  ) {
    it(`names ${what}`, () => assert.strictEqual(reason(cause), says))
  }
})

describe("secrets", () => {
  class Card extends Schema.Class<Card>("Card")({ number: Schema.Int, code: Token }) {}
  const Plain = Schema.Struct({ number: Schema.Int })
  const wrong = { number: secret }
  const redacted: Readonly<Record<string, readonly [schema: Schema.Schema.AnyNoContext, value: unknown]>> = {
    "a struct that is one": [Schema.Redacted(Plain), wrong],
    "a struct that is one, and has one": [
      Schema.Redacted(Schema.Struct({ number: Schema.Int, code: Token })),
      { ...wrong, code: secret }
    ],
    "a filtered struct that is one": [Schema.Redacted(Plain.pipe(Schema.filter(() => false))), wrong],
    "a class that is one": [Schema.Redacted(Card), { ...wrong, code: secret }],
    "one in a class": [Card, { number: 1, code: [secret] }],
    "a struct that becomes one": [
      Schema.transform(Plain, Schema.Struct({ number: Schema.RedactedFromSelf(Schema.Int) }), {
        strict: true,
        decode: ({ number }) => ({ number: Redacted.make(number) }),
        encode: ({ number }) => ({ number: Redacted.value(number) })
      }),
      wrong
    ],
    "one in an Option": [Schema.Option(Schema.Redacted(Plain)), { _tag: "Some", value: wrong }],
    "one in an Either": [Schema.Either({ left: Schema.Redacted(Plain), right: Schema.Int }), {
      _tag: "Left",
      left: wrong
    }],
    "one in a Map": [Schema.Map({ key: Schema.String, value: Schema.Redacted(Plain) }), [["a", wrong]]],
    "one in a HashMap": [Schema.HashMap({ key: Schema.String, value: Schema.Redacted(Plain) }), [["a", wrong]]],
    "one in a Chunk": [Schema.Chunk(Schema.Redacted(Plain)), [wrong]],
    "one in a record": [Schema.Record({ key: Schema.String, value: Schema.Redacted(Plain) }), { a: wrong }],
    "one in JSON": [Schema.parseJson(Schema.Redacted(Plain)), JSON.stringify(wrong)]
  }
  for (const [what, [schema, value]] of Object.entries(redacted)) {
    it(`are not in a parse error: ${what}`, () => {
      const outcome = Schema.decodeUnknownEither(Schema.Struct({ field: schema }), { errors: "all" })({ field: value })
      const error = withoutSecrets(Either.getOrThrowWith(Either.flip(outcome), () => new Error("it decodes")))
      for (const shown of [inspect(error.issue, { depth: 40 }), inspect(error), error.message]) {
        assert.notInclude(shown, secret)
      }
    })
  }

  it("are looked for in values of any depth, in cycles, and in values that cannot be read", () => {
    const clear = { $personal: "7", value: secret }
    const nested = (inner: unknown) => Array.from({ length: 100_000 }).reduce<unknown>((part) => [part], inner)
    const cycle: Record<string, unknown> = { clear: 1 }
    cycle.self = { cycle }
    const unreadable = {
      get name() {
        throw new Error(secret)
      }
    }
    const shown = (value: unknown) => {
      const outcome = ParseResult.decodeUnknownEither(Schema.String)(value)
      const issue = Either.getOrThrowWith(Either.flip(outcome), () => new Error("it decodes"))
      return withoutSecrets(ParseResult.parseError(issue)).issue.actual === value
    }
    assert.isFalse(shown(nested(clear)))
    assert.isFalse(shown({ ...cycle, clear }))
    assert.isFalse(shown(unreadable))
    assert.isFalse(shown(Array.from({ length: 200_000 }, () => ({}))))
    assert.isTrue(shown(nested(1)))
    assert.isTrue(shown(cycle))
  })

  it("are found in a recursive schema, in every way to derive it", () => {
    const tree = (leaf: Schema.Schema.AnyNoContext) => {
      const Tree = Schema.Struct({ leaf, inner: Schema.Array(Schema.suspend((): Schema.Schema.AnyNoContext => Tree)) })
      return Tree
    }
    for (const derive of [Schema.typeSchema, Schema.encodedSchema]) {
      assert.isFalse(holdsSecret(derive(tree(Schema.String)).ast))
    }
    assert.isTrue(holdsSecret(Schema.typeSchema(tree(Token)).ast))
  })
})

describe("ids", () => {
  it("may not be secrets: errors, log lines and spans name a stream by its id", () => {
    const define = () =>
      Aggregate.make({
        name: "Vault",
        id: Token,
        state: Schema.Int,
        event: Stored,
        command: Stored,
        initial: () => 0,
        evolve: (state) => state,
        decide: () => Either.right([])
      })
    assert.throws(define, "Aggregate.make id of \"Vault\" is a schema that redacts its value")
  })
})
