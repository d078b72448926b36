// docs/observability.md lists what is in the source, and nothing else
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, MetricKey, Stream, type Tracer } from "effect"
import {
  CheckpointStore,
  EventStore,
  ExpectedVersion,
  Metrics,
  Projection,
  Repository,
  SnapshotPolicy,
  SnapshotStore,
  SqlCheckpointStore,
  SqlStores
} from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import ts from "typescript"
import * as Counters from "../src/internal/counters.js"
import { Account, deposit, event, id, open, stream } from "./fixtures/Account.js"
import { postgresTemporaryDatabase, sqliteFile } from "./utils/backends.js"
import { eventually, tracing } from "./utils/observe.js"

const root = path.join(import.meta.dirname, "..")
const page = fs.readFileSync(path.join(root, "docs/observability.md"), "utf8")

/** The rows of the table whose first column has this title. */
const table = (title: string): ReadonlyArray<ReadonlyArray<string>> => {
  const lines = page.split("\n")
  const head = lines.findIndex((line) => line.startsWith(`| ${title} `))
  assert.isAbove(head, 0, title)
  const rest = lines.slice(head + 2)
  return rest.slice(0, rest.findIndex((line) => !line.startsWith("|"))).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  )
}

const code = (cell: string): ReadonlyArray<string> => Array.from(cell.matchAll(/`([^`]+)`/g), ([, text]) => text)

/** The first code of each cell of a column. */
const column = (rows: ReturnType<typeof table>, index: number) => rows.map((row) => code(row[index])[0])

const sources = fs.readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => {
    const text = fs.readFileSync(path.join(root, "src", file), "utf8")
    return ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true)
  })

const nodesIn = (node: ts.Node): ReadonlyArray<ts.Node> => {
  const found: Array<ts.Node> = []
  const visit = (node: ts.Node): void => {
    found.push(node)
    ts.forEachChild(node, visit)
  }
  visit(node)
  return found
}

const nodes = sources.flatMap(nodesIn)
const calls = nodes.filter(ts.isCallExpression)
const sorted = (texts: Iterable<string>) => Array.from(new Set(texts)).sort()

const spans = table("span")
const attributes = table("attribute")
const lines = table("level")

describe("docs/observability.md lists exactly", () => {
  it("the spans", () => {
    const makers = /(^|\.)(span|withSpan|inSpan|useSpan|operation)$/
    const made = calls.filter(({ expression }) => makers.test(expression.getText())).flatMap((call) =>
      call.arguments.filter(ts.isStringLiteral).map(({ text }) => text)
    )
    assert.deepStrictEqual(sorted(made), sorted(column(spans, 0)))
  })

  it("the attributes", () => {
    const keys = nodes.filter(ts.isStringLiteralLike).map(({ text }) => text)
      .filter((text) => /^(eventsourcing|db|error|server)\.[a-z_.]+$/.test(text))
    // a setting of PostgreSQL
    const own = keys.filter((key) => key !== "eventsourcing.lock_timeout")
    assert.include(page, "The link has the attribute\n`eventsourcing.event_id`")
    assert.deepStrictEqual(sorted(own), sorted([...column(attributes, 0), "eventsourcing.event_id"]))
  })

  it("the metrics, which are the exports of Metrics", () => {
    const keys = Object.values<unknown>(Counters).filter(MetricKey.isMetricKey)
    const rows = table("metric")
    assert.deepStrictEqual(sorted(column(rows, 0)), sorted(keys.map(({ name }) => name)))
    const exported = Object.keys(Metrics).filter((name) => !/CommandMetrics$/.test(name))
    const named = column(rows, 0).map((name) =>
      name.replace("effect_eventsourcing_", "").replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
    )
    assert.deepStrictEqual(sorted(named), sorted(exported))
    for (const [name, type, tags] of rows) {
      const key = keys.find((key) => key.name === code(name)[0])
      assert.match(String(Object.getOwnPropertySymbols(key?.keyType ?? {}).map(String)), new RegExp(type, "i"))
      assert.isNotEmpty(code(tags))
    }
    // no metric is made elsewhere
    const makers = calls.map(({ expression }) => expression.getText()).filter((text) =>
      /^Metric(Key)?\.(counter|gauge|histogram|summary|frequency|timer\w*)$/.test(text)
    )
    assert.deepStrictEqual(sorted(makers), ["MetricKey.counter", "MetricKey.gauge", "MetricKey.histogram"])
  })
})

/** The texts that an expression of a message may have, with `n` for what the program fills in. */
const textsOf = (node: ts.Expression): ReadonlyArray<string> => {
  if (ts.isStringLiteralLike(node)) return [node.text]
  if (ts.isTemplateExpression(node)) {
    return [node.head.text + node.templateSpans.map(({ literal }) => `n${literal.text}`).join("")]
  }
  if (ts.isConditionalExpression(node)) return [...textsOf(node.whenTrue), ...textsOf(node.whenFalse)]
  if (ts.isBinaryExpression(node)) return textsOf(node.left)
  if (ts.isIdentifier(node)) return textsOf(declared(node))
  if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
    const body = declared(node.expression)
    return nodesIn(body).filter(ts.isReturnStatement).flatMap(({ expression }) =>
      expression === undefined ? [] : textsOf(expression)
    )
  }
  throw new Error(`a message that this test cannot read: ${node.getText()}`)
}

/** What the constant of this name in the innermost block around it is. */
const declared = (name: ts.Identifier): ts.Expression => {
  for (let scope: ts.Node = name.parent; scope !== undefined; scope = scope.parent) {
    if (!ts.isBlock(scope) && !ts.isSourceFile(scope)) continue
    for (const statement of scope.statements.filter(ts.isVariableStatement)) {
      for (const declaration of statement.declarationList.declarations) {
        if (declaration.name.getText() === name.text && declaration.initializer) return declaration.initializer
      }
    }
  }
  throw new Error(`no constant is named ${name.text} in ${name.getSourceFile().fileName}`)
}

const logging = calls.filter(({ expression }) =>
  ["Telemetry.warn", "Telemetry.notice", "Effect.logWithLevel"].includes(expression.getText())
)

describe("docs/observability.md lists", () => {
  it("every log line, and no other", () => {
    // a call by another name would escape this test
    const importing = nodes.filter(ts.isImportDeclaration).filter(({ moduleSpecifier }) =>
      moduleSpecifier.getText().includes("telemetry.js")
    )
    for (const { importClause } of importing) assert.match(importClause?.getText() ?? "", /^(type )?\* as Telemetry$/)
    const messages = logging.flatMap((call) =>
      textsOf(call.arguments[call.expression.getText() === "Effect.logWithLevel" ? 1 : 0])
    )
    const prefixes = column(lines, 1)
    const begins = (message: string) => prefixes.filter((prefix) => message.startsWith(prefix))
    assert.deepStrictEqual(messages.filter((message) => begins(message).length !== 1), [])
    assert.deepStrictEqual(sorted(messages.flatMap(begins)), sorted(prefixes))
  })

  it("every annotation of a log line, and no other", () => {
    const records = calls.flatMap((call) => {
      const annotating = ["Telemetry.warn", "Telemetry.notice", "Effect.annotateLogs"]
      return annotating.includes(call.expression.getText()) ? call.arguments.filter(ts.isObjectLiteralExpression) : []
    })
    const keys = records.flatMap(({ properties }) =>
      properties.flatMap((property) => property.name === undefined ? [] : [property.name.getText()])
    )
    // the numbers of a load are spread
    assert.deepStrictEqual(
      sorted([...keys, "replayed", "snapshotVersion"]),
      sorted(column(table("annotation"), 0))
    )
  })
})

const matches = (pattern: string, name: string) =>
  pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : pattern === name

const driver = ["db.namespace", "server.address", "server.port"]

/** Operations that make every span. */
const everything = Effect.gen(function*() {
  const { spans, traced } = yield* tracing
  const sql = yield* SqlClient.SqlClient
  const events = yield* EventStore.EventStore
  const snapshots = yield* SnapshotStore.SnapshotStore
  const run = Effect.gen(function*() {
    const accounts = yield* Repository.make(Account, { snapshots: SnapshotPolicy.background({ every: 1 }) })
    yield* sql.withTransaction(accounts.executeAll(id("a"), [open, deposit(1)]))
    yield* accounts.execute(id("a"), deposit(2), { commandId: "c" })
    yield* accounts.execute(id("a"), deposit(2), { commandId: "c" })
    yield* accounts.awaitPendingSnapshots
    const projection = Projection.make({ name: "all", on: [Account], handle: () => Effect.void })
    yield* Layer.build(Layer.provide(Projection.layer(projection), CheckpointStore.layerMemory))
    yield* eventually(
      Effect.sync(() => spans.some(({ name, status }) => name === "Projection.handle" && status._tag === "Ended"))
    )
    const inline = Projection.make({ name: "inline", on: [Account], handle: () => Effect.void })
    yield* Effect.scoped(Effect.zipRight(
      Layer.build(Layer.provide(Projection.layer(inline, { inline: true }), SqlCheckpointStore.layer)),
      events.append(stream("b"), [event()], { expectedVersion: ExpectedVersion.any })
    ))
    yield* accounts.createSnapshot(id("a"))
    yield* accounts.verify(id("a"))
    yield* accounts.loadAt(id("a"), 1)
    yield* Effect.exit(accounts.execute(id("a"), { _tag: "Withdraw", amount: 1_000 }))
    yield* Stream.runDrain(accounts.history(id("a")))
    const apart = yield* Repository.make(Account, {
      snapshots: SnapshotPolicy.sync({ every: 1 }),
      pageSize: 2,
      verify: { sample: 1 }
    }).pipe(Effect.provideService(SnapshotStore.SnapshotStore, { ...snapshots }))
    yield* apart.load(id("a"))
    yield* eventually(
      Effect.sync(() => spans.some(({ name, status }) => name === "Repository.verifySample" && status._tag === "Ended"))
    )
    yield* Stream.runDrain(events.import(Stream.make({ ...event(), stream: stream("imported") })))
    yield* Effect.ignore(events.append(stream("a"), [event()], { expectedVersion: ExpectedVersion.exact(77) }))
    yield* snapshots.delete(stream("a"))
    yield* sql`DROP TABLE eventsourcing_snapshots`
    yield* Effect.ignore(apart.createSnapshot(id("a")))
    yield* sql`DROP TABLE eventsourcing_events`
    yield* Effect.ignore(events.find(["e-1"]))
    // a load that fails after it has refused a snapshot has no other place to say so
    yield* Effect.ignore(apart.loadAt(id("a"), 1))
  })
  yield* traced(Effect.scoped(run))
  return spans
})

const databases: ReadonlyArray<readonly [name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>]> = [
  ["SQLite", sqliteFile(":memory:")],
  ["PostgreSQL", postgresTemporaryDatabase]
]

describe("docs/observability.md tells for each span of a run", () => {
  const observed = (found: ReadonlyArray<Tracer.Span>) =>
    found.filter(({ name }) => !name.startsWith("sql.") || name === "sql.transaction")

  for (const [name, client] of databases) {
    it.scopedLive(`its kind and attributes (${name})`, () =>
      Effect.gen(function*() {
        const found = observed(yield* everything)
        const seen = found.map(({ kind, name }) => `${name} ${kind}`)
        assert.deepStrictEqual(sorted(seen), sorted(spans.map(([span, kind]) => `${code(span)[0]} ${kind}`)))
        const pairs = attributes.flatMap(([key, patterns]) =>
          code(patterns).map((pattern) => ({ key: code(key)[0], pattern }))
        )
        const missing = found.flatMap((span) =>
          Array.from(span.attributes.keys())
            .filter((key) => !driver.includes(key))
            .filter((key) => !pairs.some((pair) => pair.key === key && matches(pair.pattern, span.name)))
            .map((key) => `${span.name} ${key}`)
        )
        assert.deepStrictEqual(sorted(missing), [])
        // and no span is said to have what none of them has
        const unseen = pairs.filter(({ key, pattern }) =>
          !found.some((span) => matches(pattern, span.name) && span.attributes.has(key))
        )
        assert.deepStrictEqual(unseen, [])
        const given = found.flatMap(({ attributes }) => driver.filter((key) => attributes.has(key)))
        assert.deepStrictEqual(sorted(given), name === "PostgreSQL" ? driver : [])
      }).pipe(Effect.provide(Layer.provideMerge(SqlStores.layer, client))))
  }
})
