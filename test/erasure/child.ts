// a process that works with the data of persons, alone or as a runner of a cluster: with a cache, snapshots, projections
// that fail, a log at the lowest level and spans
import { SqlClient } from "@effect/sql"
import { Cause, Effect, Equal, Exit, Layer, Logger, LogLevel, Option, Schedule, Scope, Stream, Tracer } from "effect"
import {
  Event,
  EventStore,
  ExpectedVersion,
  KeyStore,
  Personal,
  Projection,
  Projections,
  Repository,
  SnapshotPolicy,
  SqlCheckpointStore,
  SqlKeyStore,
  SqlStores,
  StreamId,
  Streams,
  Subscription
} from "effect-eventsourcing"
import { AggregateEntity, SqlCluster } from "effect-eventsourcing/cluster"
import { PCGRandom } from "effect/Utils"
import * as fs from "node:fs"
import * as path from "node:path"
import * as readline from "node:readline"
import * as util from "node:util"
import { pgClient } from "../utils/postgres.js"
import { sqliteFile } from "../utils/stores.js"
import { Person } from "./person.js"
import { endings, erased, type Failed, type Orders, type Said, subjects, timeToLive } from "./protocol.js"

const orders: Orders = JSON.parse(process.argv[2])
const { fault, secrets } = orders

const say = (line: Said) => fs.writeSync(1, `${JSON.stringify(line)}\n`)

const random = new PCGRandom(orders.seed)
const below = (n: number) => Math.floor(random.number() * n)

// -------------------------------------------------------------------------------------
// what it leaves behind
// -------------------------------------------------------------------------------------

const append = (file: string, value: unknown) =>
  fs.appendFileSync(path.join(orders.folder, `${orders.name}.${file}`), `${util.inspect(value, { depth: 20 })}\n`)

const logging = Logger.replace(
  Logger.defaultLogger,
  Logger.make(({ annotations, cause, logLevel, message }) => {
    append("log", [logLevel.label, message, Array.from(annotations), Cause.pretty(cause, { renderErrorCause: true })])
  })
)

/** Writes spans as an exporter does, with the errors and their causes. */
const traced = Effect.flatMap(Effect.tracer, (native) => {
  const tracer = Tracer.make({
    span: (...args) => {
      const span = native.span(...args)
      const end = span.end.bind(span)
      span.end = (time, exit) => {
        end(time, exit)
        append("spans", [
          span.name,
          Array.from(span.attributes),
          Exit.isFailure(exit) ? Cause.pretty(exit.cause, { renderErrorCause: true }) : "ok"
        ])
      }
      return span
    },
    context: native.context
  })
  return Effect.succeed(Effect.withTracer(tracer))
})

// -------------------------------------------------------------------------------------
// its stores
// -------------------------------------------------------------------------------------

const client: Layer.Layer<SqlClient.SqlClient, unknown> = orders.database.startsWith("postgres://")
  ? pgClient(orders.database, { maxConnections: 8 })
  : sqliteFile(orders.database)

/** Forgets the keys of a subject without a fence. */
const withoutFence = Layer.effect(
  KeyStore.KeyStore,
  Effect.map(
    Effect.all([KeyStore.KeyStore, SqlClient.SqlClient]),
    ([keys, sql]) => ({
      ...keys,
      destroy: (subject: string) =>
        Effect.as(Effect.orDie(sql`DELETE FROM eventsourcing_keys WHERE subject = ${subject}`), true)
    })
  )
).pipe(Layer.provide(SqlKeyStore.layer))

const stores = Layer.merge(Layer.provideMerge(Streams.layer, SqlStores.layer), SqlCheckpointStore.layer).pipe(
  Layer.provideMerge(
    Layer.provide(
      Personal.layerWith({ timeToLive: fault === "keys for an hour" ? "1 hour" : timeToLive }),
      fault === "no fence" ? withoutFence : SqlKeyStore.layer
    )
  ),
  Layer.provideMerge(client)
)

const snapshots = orders.snapshots === "sync"
  ? SnapshotPolicy.sync({ every: 2 })
  : SnapshotPolicy.background({ every: 3 })

const options = { cache: { capacity: 10 }, snapshots, verify: { sample: 0.5 } } as const

const entity = AggregateEntity.make(Person, { persisted: true })

/** The cluster, if there is one: a runner, and a client of its entities. */
const cluster = orders.port === undefined
  ? undefined
  : AggregateEntity.layer(entity, { ...options, maxIdleTime: "2 seconds", snapshotOnPassivation: { after: 2 } }).pipe(
    Layer.provideMerge(
      SqlCluster.layerRunner({
        address: { host: "127.0.0.1", port: orders.port },
        shards: 20,
        lockExpiration: "3 seconds",
        lockRefresh: "500 millis",
        refreshInterval: "300 millis"
      })
    )
  )

// -------------------------------------------------------------------------------------
// its projections
// -------------------------------------------------------------------------------------

interface Read {
  readonly aggregateId: string
  readonly event: { readonly _tag: string; readonly name?: Personal.Personal<string, string> | undefined }
}

const failing = ({ event: { name } }: Read) =>
  name?._tag === "Present" ? Effect.fail(new Error(`no letter reaches ${name.value}`)) : Effect.void

const quickly = { retry: Schedule.recurs(0), lease: "1 second", maxDelay: "50 millis", pageSize: 20 } as const

const Letters = Projection.make({
  name: "letters",
  on: [Person],
  handle: (events) => Effect.forEach(events, failing, { discard: true })
})

const Mails = Subscription.make({ name: "mails", on: [Person], from: "start", handle: failing })

const Calls = Subscription.make({ name: "calls", on: [Person], from: "start", handle: failing })

/** A read model that shows names in clear, in a table for each version of it. */
const cards = (version: number) =>
  Projection.make({
    name: "cards",
    version,
    on: [Person],
    handle: (events) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => {
        const writes = events.flatMap(({ aggregateId, event }) =>
          event._tag === "Registered"
            ? [
              sql`INSERT INTO ${sql(`cards_${version}`)} (person, name) VALUES (${aggregateId}, ${
                event.name._tag === "Present" ? event.name.value : null
              }) ON CONFLICT (person) DO UPDATE SET name = excluded.name`
            ]
            : []
        )
        return Effect.all(writes, { discard: true })
      })
  })

/** Builds a version of the read model up to the end of the feed, and uses it. */
const buildCards = (version: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const scope = yield* Scope.make()
    yield* sql`CREATE TABLE IF NOT EXISTS ${sql(`cards_${version}`)} (person text PRIMARY KEY, name text)`
    yield* Scope.extend(Layer.build(Projection.layer(cards(version), { ...quickly, poison: "park" })), scope)
    if (version > 1) yield* Projections.promote({ name: "cards", version })
    const { head } = yield* EventStore.EventStore
    yield* Projections.awaitPosition("cards", yield* head, { timeout: "1 minute" })
    return Scope.close(scope, Exit.void)
  })

// -------------------------------------------------------------------------------------
// its truncated events
// -------------------------------------------------------------------------------------

/** Writes truncated events to a file, as they come. */
const sent: Streams.Sink<never, never> = (events) =>
  Stream.runForEach(events, ({ payload, type }) => Effect.sync(() => append("sent", [type, JSON.stringify(payload)])))
    .pipe(Effect.ignore)

// -------------------------------------------------------------------------------------
// its commands
// -------------------------------------------------------------------------------------

const nameOf = (subject: string) => subject === erased ? secrets.name : "Grace"

const register = (subject: string, how: "soundly" | "refused" | "dying") =>
  ({ _tag: "Register", name: Personal.make(subject, nameOf(subject)), how }) as const

/** A name that is not a text, as code without types gives it. */
const wrong = (subject: string) => {
  const name: string = Reflect.get({ parts: [nameOf(subject)] }, String("parts"))
  return { _tag: "Register", name: Personal.make(subject, name), how: "soundly" } as const
}

const move = (subject: string) =>
  ({
    _tag: "Move",
    address: Personal.make(subject, { street: subject === erased ? secrets.street : "Main Street", since: new Date(0) })
  }) as const

const visit = { _tag: "Visit" } as const

interface Answered {
  readonly state: { readonly name: Option.Option<Personal.Personal<string, string>> }
}

const outcomeOf = ({ state: { name } }: Answered): "present" | "erased" | "none" =>
  Option.match(name, { onNone: () => "none", onSome: ({ _tag }) => _tag === "Present" ? "present" : "erased" })

const failedBy = (cause: Cause.Cause<unknown>): Failed => {
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  if (failure === undefined) return { error: Cause.isInterruptedOnly(cause) ? "interrupted" : "defect" }
  const { _tag, reason }: Record<string, unknown> = { _tag: undefined, reason: undefined, ...Object(failure) }
  return { error: `${String(Reflect.get(Object(failure), "_tag") ?? _tag)} ${String(reason ?? "")}`.trim() }
}

// -------------------------------------------------------------------------------------
// the program
// -------------------------------------------------------------------------------------

type Entities = AggregateEntity.Client<typeof Person>

const program = (entities: Entities | undefined) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const events = yield* EventStore.EventStore
    const streams = yield* Streams.Streams
    const repository = yield* Repository.make(Person, options)
    yield* Layer.build(
      Layer.mergeAll(
        Projection.layer(Letters, { ...quickly, poison: "park" }),
        Subscription.layer(Mails, { ...quickly, poison: "parkStream" }),
        Subscription.layer(Calls, { ...quickly, poison: "stop" })
      )
    )

    // an event that does not decode
    const payload = { _tag: "Registered", name: { $personal: erased, value: [secrets.name] } }
    yield* events.append(StreamId.make("Person", "broken"), [{ id: "broken", type: "Registered", payload }], {
      expectedVersion: ExpectedVersion.any
    }).pipe(Effect.ignore)

    const plans: ReadonlyArray<
      readonly [what: string, run: (id: string, subject: string) => Effect.Effect<Answered, unknown>]
    > = [
      ["register", (id, subject) => working(id).execute(id, register(subject, "soundly"))],
      ["move", (id, subject) => working(id).execute(id, move(subject))],
      ["visit", (id) => working(id).execute(id, visit)],
      ["visit", (id) => working(id).execute(id, visit)],
      ["load", (id) => working(id).load(id)],
      ["load", (id) => repository.load(id)],
      ["refused", (id, subject) => working(id).execute(id, register(subject, "refused"))],
      ["dying", (id, subject) => working(id).execute(id, register(subject, "dying"))],
      ["wrong", (id, subject) => working(id).execute(id, wrong(subject))],
      ["broken", () => repository.load("broken")],
      ["history", (id) => Effect.zipRight(Stream.runDrain(repository.history(id)), repository.load(id))],
      ["snapshot", (id) => Effect.zipRight(repository.createSnapshot(id), repository.load(id))],
      ["verify", (id) => Effect.zipRight(repository.verify(id), repository.load(id))],
      ["truncate", (id) => truncate(id)],
      ["metadata", (id, subject) =>
        Effect.provideService(
          repository.execute(id, visit),
          Event.CurrentMetadata,
          fault === "a name in metadata"
            ? { by: secrets.name }
            : { by: { $personal: subject, value: secrets.name } }
        )]
    ]
    const truncate = (id: string) =>
      Effect.gen(function*() {
        yield* repository.createSnapshot(id)
        const { version } = yield* repository.load(id)
        const ending = endings[id] ?? "archive"
        yield* streams.truncate(StreamId.make("Person", id), {
          aggregate: Person,
          // the last event stays
          before: Math.max(2, version),
          events: ending === "send" ? sent : ending,
          unverified: true
        })
        return yield* repository.load(id)
      })
    const working = (_: string) => entities !== undefined && below(2) === 0 ? entities : repository

    let paused = true
    let busy = 0
    const ids = Object.keys(subjects)
    const one = Effect.suspend(() => {
      if (paused) return Effect.sleep("5 millis")
      const id = ids[below(ids.length)]
      const [what, run] = plans[below(plans.length)]
      const began = Date.now()
      busy++
      return Effect.suspend(() => run(id, subjects[id])).pipe(
        Effect.exit,
        Effect.map((exit) => {
          busy--
          const outcome = Exit.isSuccess(exit) ? outcomeOf(exit.value) : failedBy(exit.cause)
          say({ _tag: "Done", began, id, what, outcome })
          // as a program does that logs the errors of the library with their causes; a defect is its own
          const error = Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none()
          if (Option.isSome(error)) {
            append("errors", [error.value, Cause.pretty(Cause.fail(error.value), { renderErrorCause: true })])
          }
          if (fault === "a name in a log line") {
            append("log", secrets.name)
          }
        }),
        Effect.zipRight(Effect.sleep("2 millis"))
      )
    })
    yield* Effect.forkScoped(
      Effect.replicateEffect(Effect.forever(one), 4, { concurrency: "unbounded", discard: true })
    )

    const check = Effect.gen(function*() {
      const problems: Array<string> = []
      const replaying = yield* Repository.make(Person)
      for (const [id, subject] of Object.entries(subjects)) {
        if (endings[id] !== undefined) {
          // there are no events to replay: the snapshot is used, with erased data
          const expected = subject === erased ? "erased" : "present"
          const found = yield* Effect.match(repository.load(id), {
            onFailure: ({ _tag }) => _tag,
            onSuccess: outcomeOf
          })
          if (found !== expected) problems.push(`${id}, whose events are gone, is ${found}`)
          continue
        }
        const bySnapshot = yield* repository.load(id)
        const byReplay = yield* replaying.load(id)
        const { address, name, visits } = bySnapshot.state
        const isSame = Equal.equals(name, byReplay.state.name) && Equal.equals(address, byReplay.state.address) &&
          visits === byReplay.state.visits
        if (!isSame) problems.push(`${id}: replay and snapshot differ`)
        const expected = subject === erased ? "erased" : "present"
        if (outcomeOf(byReplay) !== expected) problems.push(`${id} is ${outcomeOf(byReplay)}`)
        const verified = yield* repository.verify(id)
        if (verified._tag === "Refuted") problems.push(`${id}: ${verified._tag}`)
      }
      const again = yield* Effect.either(repository.execute("a", register(erased, "soundly")))
      if (again._tag === "Right") problems.push("an append of the erased subject was accepted")
      return problems
    })

    let closeCards: Effect.Effect<void> = Effect.void
    const obey = (order: string) =>
      Effect.gen(function*() {
        switch (order) {
          case "go":
            paused = false
            return undefined
          case "pause":
            paused = true
            while (busy > 0) yield* Effect.sleep("10 millis")
            yield* repository.awaitPendingSnapshots
            return say({ _tag: "Paused" })
          case "erase": {
            const hadKeys = yield* Personal.erase(erased)
            return say({ _tag: "Erased", hadKeys, at: Date.now() })
          }
          case "cards":
            closeCards = yield* buildCards(1)
            return say({ _tag: "Cards" })
          case "rebuild":
            yield* buildCards(2)
            yield* closeCards
            yield* sql`DROP TABLE cards_1`
            return say({ _tag: "Rebuilt" })
          case "check":
            return say({
              _tag: "Checked",
              problems: yield* Effect.catchAllCause(check, (cause) => Effect.succeed([Cause.pretty(cause)]))
            })
          default:
            return say({ _tag: "Bad", problem: `an unknown order, ${order}` })
        }
      }).pipe(
        Effect.catchAllCause((cause) =>
          Effect.sync(() => say({ _tag: "Bad", problem: `${order}: ${Cause.pretty(cause)}` }))
        )
      )

    const context = yield* Effect.context<Effect.Effect.Context<ReturnType<typeof obey>>>()
    readline.createInterface({ input: process.stdin })
      .on("line", (line) => void Effect.runFork(Effect.provide(obey(line), context).pipe(Effect.provide(logging))))
      // the process that started this one is gone
      .on("close", () => process.exit(0))
    say({ _tag: "Ready" })
    yield* Effect.never
  })

const run = cluster === undefined
  ? Effect.provide(Effect.scoped(program(undefined)), stores)
  : Effect.flatMap(AggregateEntity.client(entity, { timeout: "20 seconds" }), program).pipe(
    Effect.scoped,
    Effect.provide(Layer.provideMerge(cluster, stores))
  )

Effect.runFork(
  Effect.flatMap(traced, (traced) => traced(run)).pipe(
    Effect.tapErrorCause((cause) => Effect.sync(() => say({ _tag: "Bad", problem: Cause.pretty(cause) }))),
    Effect.provide(logging),
    Logger.withMinimumLogLevel(LogLevel.All)
  )
)
