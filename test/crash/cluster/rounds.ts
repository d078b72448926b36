// disturbs the runners of a cluster at random moments while a client sends commands, and checks every answer
import { SqlClient } from "@effect/sql"
import { Cause, Effect, Exit, Layer } from "effect"
import { Repository, SnapshotPolicy, SqlStores } from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import { Account, freePort, id as accountId } from "../../cluster/fixture.js"
import { pgClient, type Server, startServer, temporaryDatabase } from "../../utils/postgres.js"
import { type History, problemsOf, type Stored } from "./check.js"
import { type Client, makePlace, pause, type Place, startClient, startRunner, stopRunner, within } from "./processes.js"
import type { Said } from "./protocol.js"
import { type Settings, storesPrefix } from "./settings.js"

export const kinds = ["kill -9", "SIGTERM", "SIGSTOP", "server stopped"] as const

export type Kind = (typeof kinds)[number]

export interface Variant {
  readonly name: string
  readonly runners: number
  readonly settings: Settings
}

export const quick: Settings = {
  persisted: false,
  lockExpiration: 3_000,
  lockRefresh: 1_000,
  refreshInterval: 500,
  // on a busy machine a command takes a second, and an attempt must not end before it
  attemptTimeout: 2_000
}

export const variants: ReadonlyArray<Variant> = [
  { name: "locks of 3 seconds", runners: 3, settings: quick },
  { name: "locks of 3 seconds, two runners", runners: 2, settings: quick },
  {
    name: "locks of 5 seconds",
    runners: 3,
    settings: { ...quick, lockExpiration: 5_000, lockRefresh: 1_500, attemptTimeout: 3_000 }
  },
  {
    name: "default settings",
    runners: 3,
    settings: {
      persisted: false,
      lockExpiration: 10_000,
      lockRefresh: 3_000,
      refreshInterval: 1_000,
      attemptTimeout: 5_000
    }
  },
  { name: "persisted commands", runners: 3, settings: { ...quick, persisted: true } }
]

export interface Result {
  readonly name: string
  readonly kills: Readonly<Record<Kind, number>>
  readonly acknowledged: number
  readonly duplicates: number
  readonly rejected: number
  readonly refused: number
  readonly unknown: number
  readonly loads: number
  readonly events: number
  readonly snapshots: number
  /** The longest call, in milliseconds. */
  readonly longest: number
  readonly seconds: number
  readonly problems: ReadonlyArray<string>
}

export interface Options {
  readonly kills: number
  readonly seed: number
  /** How many kills come before each check. */
  readonly killsPerRound?: number
  readonly onKill?: (kind: Kind) => void
}

const ids = 300

// -------------------------------------------------------------------------------------
// the check of a round
// -------------------------------------------------------------------------------------

const storedEvents = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(
    sql<{ readonly stream: string; readonly id: string; readonly version: number; readonly payload: string }>`
SELECT stream_id AS stream, event_id AS id, version::int AS version, payload::text AS payload
FROM bank_events ORDER BY stream_id, version`,
    (rows): History => {
      const history = new Map<string, Array<Stored>>()
      for (const { id, payload, stream, version } of rows) {
        const { _tag, amount }: { readonly _tag: string; readonly amount?: number } = JSON.parse(payload)
        const events = history.get(stream) ?? []
        events.push({ id, version, type: _tag, amount })
        history.set(stream, events)
      }
      return history
    }
  ))

/** Checks what a client was told, and what loads and verifications of the stored events say. */
const check = (said: ReadonlyArray<Said>) =>
  Effect.gen(function*() {
    const problems = said.flatMap((line) => line._tag === "Bad" ? [line.problem] : [])
    const history = yield* storedEvents
    problems.push(...problemsOf(history, said))
    const plain = yield* Repository.make(Account)
    const quick = yield* Repository.make(Account, { snapshots: SnapshotPolicy.manual })
    let snapshots = 0
    for (const name of history.keys()) {
      const id = accountId(name)
      const [loaded, replayed] = yield* Effect.all([quick.load(id), plain.load(id)])
      if (JSON.stringify([loaded.version, loaded.state]) !== JSON.stringify([replayed.version, replayed.state])) {
        problems.push(`${name} loads as ${JSON.stringify(loaded)}, replay gives ${JSON.stringify(replayed)}`)
      }
      const verified = yield* quick.verify(id)
      if (verified._tag === "Verified") snapshots++
      else if (verified._tag !== "NoSnapshot" || verified.snapshotOutcome._tag !== "None") {
        problems.push(`${name}: ${JSON.stringify(verified)}`)
      }
    }
    return { problems, snapshots, events: Array.from(history.values()).reduce((sum, { length }) => sum + length, 0) }
  })

const checkOn = (database: string, said: ReadonlyArray<Said>) =>
  check(said).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.provideMerge(SqlStores.layerWith(storesPrefix), pgClient(database, { maxConnections: 4 }))
    )
  )

// -------------------------------------------------------------------------------------
// disturbances
// -------------------------------------------------------------------------------------

interface Cluster {
  readonly database: string
  readonly settings: Settings
  readonly server: Server
  readonly places: ReadonlyArray<Place>
  readonly below: (n: number) => number
  readonly problems: Array<string>
}

/** Where the runner is started again: another address is another runner for the cluster. */
const startAgain = async ({ below, database, settings }: Cluster, place: Place) => {
  await pause(below(4) * 500)
  if (below(2) === 0) place.port = await Effect.runPromise(freePort)
  await startRunner(place, database, settings)
}

const killed = async (cluster: Cluster, place: Place) => {
  const { child, exited } = place.runner!
  child.kill("SIGKILL")
  await exited
  const counts = child.signalCode === "SIGKILL"
  if (!counts) cluster.problems.push(`a runner ended by itself: ${place.runner!.errors()}`)
  await startAgain(cluster, place)
  return counts
}

const terminated = async (cluster: Cluster, place: Place) => {
  const { child, exited } = place.runner!
  const counts = child.exitCode === null && child.signalCode === null
  if (!counts) cluster.problems.push(`a runner ended by itself: ${place.runner!.errors()}`)
  child.kill("SIGTERM")
  await within(60_000, "a runner ends after SIGTERM", exited).catch((error) => {
    throw new Error(`${String(error)} ${place.runner?.errors()}`)
  })
  await startAgain(cluster, place)
  return counts
}

/** Stops a runner until its locks have expired and another one may have its entities. Then it goes on. */
const frozen = async ({ below, settings: { lockExpiration } }: Cluster, { runner }: Place) => {
  const { child } = runner!
  child.kill("SIGSTOP")
  await pause(lockExpiration + 500 + below(2_500))
  child.kill("SIGCONT")
  await pause(below(1_000))
  return child.exitCode === null && child.signalCode === null
}

const serverStopped = async ({ below, server }: Cluster) => {
  await server.stop(below(2) === 0 ? "immediate" : "fast")
  await pause(below(3) * 300)
  await server.start()
  return true
}

/** Begins a disturbance, if something is left to disturb. It ends later. */
const begin = (cluster: Cluster, kind: Kind): Promise<boolean> | undefined => {
  const chosen = kind === "server stopped"
    ? cluster.places.some(({ disturbed }) => disturbed) ? [] : cluster.places
    : cluster.places.filter(({ disturbed }) => !disturbed)
  if (chosen.length === 0) return undefined
  const place = chosen[cluster.below(chosen.length)]
  const disturbed = kind === "server stopped" ? cluster.places : [place]
  for (const one of disturbed) one.disturbed = true
  const strike = { "kill -9": killed, SIGTERM: terminated, SIGSTOP: frozen, "server stopped": serverStopped }[kind]
  return strike(cluster, place).finally(() => {
    for (const one of disturbed) one.disturbed = false
  })
}

// most of the kills are of a single runner; the server takes all of them
const drawn: ReadonlyArray<Kind> = [
  ...["kill -9", "kill -9", "kill -9", "SIGTERM", "SIGTERM", "SIGSTOP", "SIGSTOP", "SIGSTOP", "server stopped"] as const
]

// -------------------------------------------------------------------------------------
// rounds
// -------------------------------------------------------------------------------------

/** Disturbs the cluster so often, and waits until it is whole again. */
const disturb = async (cluster: Cluster, kindsInTurn: ReadonlyArray<Kind>, onKill: (kind: Kind) => void) => {
  const running: Array<Promise<void>> = []
  for (const kind of kindsInTurn) {
    await pause(500 + cluster.below(2_000))
    for (;;) {
      const disturbance = begin(cluster, kind)
      if (disturbance === undefined) {
        await pause(100)
        continue
      }
      running.push(disturbance.then((counts) => {
        if (counts) onKill(kind)
      }))
      break
    }
  }
  const results = await Promise.allSettled(running)
  for (const result of results) if (result.status === "rejected") cluster.problems.push(String(result.reason))
}

const round = async (
  cluster: Cluster,
  client: Client,
  inTurn: ReadonlyArray<Kind>,
  onKill: (kind: Kind) => void
) => {
  client.go()
  await disturb(cluster, inTurn, onKill)
  await pause(500)
  await client.pause()
  await client.sweep()
  const checked = await Effect.runPromiseExit(checkOn(cluster.database, client.said()))
  if (Exit.isFailure(checked)) {
    cluster.problems.push(`the check itself failed: ${Cause.pretty(checked.cause)}`)
    return { events: 0, snapshots: 0 }
  }
  cluster.problems.push(...checked.value.problems)
  return checked.value
}

const countsOf = (said: ReadonlyArray<Said>) => {
  const answers = said.flatMap((line) => line._tag === "Answer" ? [line] : [])
  const count = (tag: string) => answers.filter(({ answer: { _tag } }) => _tag === tag).length
  return {
    acknowledged: count("Executed"),
    duplicates: answers.filter(({ answer }) => answer._tag === "Executed" && answer.duplicate).length,
    rejected: count("Rejected"),
    refused: count("Refused"),
    unknown: count("Unknown"),
    loads: count("Loaded"),
    longest: answers.reduce((longest, { took }) => Math.max(longest, took), 0)
  }
}

export const runVariant = async ({ name, runners, settings }: Variant, options: Options): Promise<Result> => {
  const start = performance.now()
  const random = new PCGRandom(options.seed)
  const below = (n: number) => Math.floor(random.number() * n)
  const counts: Record<Kind, number> = { "kill -9": 0, SIGTERM: 0, SIGSTOP: 0, "server stopped": 0 }
  // what is flushed here is flushed, as on a server that has to survive more than the end of a process
  const server = await startServer({ fsync: "on", full_page_writes: "on" })
  const program = Effect.gen(function*() {
    const database = yield* temporaryDatabase(server.url)
    const places = yield* Effect.promise(() => Promise.all(Array.from({ length: runners }, makePlace)))
    yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all(places.map(stopRunner))))
    const client = startClient({ database, settings, seed: below(2 ** 31), ids, fibers: 32 })
    yield* Effect.addFinalizer(() => Effect.promise(client.stop))
    const cluster: Cluster = { database, settings, server, places, below, problems: [] }
    const found = yield* Effect.tryPromise(async () => {
      await Promise.all([client.ready(), ...places.map((place) => startRunner(place, database, settings))])
      let last = { events: 0, snapshots: 0 }
      let done = 0
      while (done < options.kills && cluster.problems.length === 0) {
        const perRound = Math.min(options.killsPerRound ?? 6, options.kills - done)
        // the first kills are one of each kind
        const inTurn = Array.from({ length: perRound }, (_, n) => kinds[done + n] ?? drawn[below(drawn.length)])
        last = await round(cluster, client, inTurn, (kind) => {
          done++
          counts[kind]++
          options.onKill?.(kind)
        })
      }
      return last
    }).pipe(Effect.catchAll((error) =>
      Effect.sync(() => {
        cluster.problems.push(String(error.error))
        return { events: 0, snapshots: 0 }
      })
    ))
    if (client.errors() !== "") cluster.problems.push(client.errors())
    return { ...found, ...countsOf(client.said()), problems: cluster.problems }
  })
  try {
    const found = await Effect.runPromise(Effect.scoped(program))
    return { name, kills: counts, ...found, seconds: (performance.now() - start) / 1_000 }
  } finally {
    await server.close()
  }
}
