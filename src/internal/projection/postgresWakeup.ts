// Wakes the readers of all processes on one PostgreSQL database, by LISTEN and NOTIFY on a connection of its own.
//
// A NOTIFY inside the transaction of an append would make commits wait for each other. So a process sends a hint after its
// appends, at most one in `every`. A connection that died can stay silent, so the process listens for its own hints too:
// if one does not arrive, it connects again. Readers that get no hint look at the feed themselves.
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Signal from "../signal.js"
import * as Telemetry from "./telemetry.js"

/**
 * The part of a `Client` of the `pg` driver that `Wakeup.layerPostgres` needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client {
  readonly connect: () => Promise<unknown>
  readonly query: (text: string, values?: Array<string>) => Promise<unknown>
  readonly end: () => Promise<unknown>
  readonly on: {
    (event: "notification", listener: (message: Notification) => void): unknown
    (event: "error", listener: (error: Error) => void): unknown
    (event: "end", listener: () => void): unknown
  }
}

/**
 * A notification of the `pg` driver.
 *
 * @since 0.1.0
 * @category models
 */
export interface Notification {
  readonly channel: string
  readonly payload?: string | undefined
}

interface Listening {
  readonly client: () => Client
  readonly channel: string
  readonly every: Duration.Duration
  /** Rings after appends of this process. */
  readonly appended: Signal.Signal
  /** Rings after appends of other processes, and when some may have been missed. */
  readonly ring: () => void
  readonly id: string
  /** How often a connection failed since one worked. */
  failures: number
}

/** Listens and sends hints until the scope closes. A failure is followed by another connection. */
export const run = (
  options: Omit<Listening, "id" | "failures">
): Effect.Effect<void, never, Scope.Scope> => {
  const listening: Listening = { ...options, id: crypto.randomUUID(), failures: 0 }
  const once = Effect.catchAll(Effect.scoped(session(listening)), (reason) =>
    Effect.gen(function*() {
      yield* Telemetry.disconnected(reason)
      const part = yield* Random.nextRange(0.8, 1.2)
      yield* Effect.sleep(part * reconnectMillis(listening.failures))
      listening.failures += 1
    }))
  return Effect.asVoid(Effect.forkScoped(Effect.interruptible(Effect.forever(once))))
}

const reconnectMillis = (failures: number): number => Math.min(50 * 2 ** Math.min(failures, 12), 5_000)

const silence = "the connection is silent"

/** Listens on one connection until that fails. */
const session = (listening: Listening): Effect.Effect<never, string, Scope.Scope> =>
  Effect.gen(function*() {
    const { channel, id, ring } = listening
    const heard = Signal.make()
    const failed = Signal.make()
    const client = yield* connected(listening, (message) => {
      if (message.payload === id) heard.ring()
      else ring()
    }, failed.ring)
    yield* attempt(() => client.query(`LISTEN "${channel}"`))
    // appends that were hinted at meanwhile
    ring()
    const lost = Effect.zipRight(failed.wait(0, Duration.infinity), Effect.fail("the connection ended"))
    return yield* Effect.raceFirst(lost, hinting(listening, client, heard))
  })

const connected = (
  { channel, client: make }: Listening,
  onMessage: (message: Notification) => void,
  onEnd: () => void
): Effect.Effect<Client, string, Scope.Scope> =>
  Effect.acquireRelease(
    attemptSync(() => {
      const client = make()
      // a listener must be there before an error is
      client.on("error", onEnd)
      client.on("end", onEnd)
      client.on("notification", (message) => message.channel === channel ? onMessage(message) : undefined)
      return client
    }),
    // a connection that is half open does not answer
    (client) => attempt(() => client.end()).pipe(Effect.timeoutOption("1 second"), Effect.disconnect, Effect.ignore)
  ).pipe(
    // outside of the acquisition, which cannot be interrupted: a server that does not answer must not keep the scope open
    Effect.tap((client) => attempt(() => client.connect()))
  )

/** Sends a hint after appends, or now and then to hear whether the connection still works. */
const hinting = (
  listening: Listening,
  client: Client,
  heard: Signal.Signal
): Effect.Effect<never, string> => {
  const { appended, channel, every, id } = listening
  const once = Effect.suspend(() => {
    const appends = appended.count()
    const answers = heard.count()
    return attempt(() => client.query("SELECT pg_notify($1, $2)", [channel, id])).pipe(
      Effect.zipRight(Effect.suspend(() => heard.wait(answers, answerWithin))),
      Effect.timeoutFail({ duration: "10 seconds", onTimeout: () => silence }),
      Effect.zipRight(Effect.suspend(() => {
        if (heard.count() === answers) return Effect.fail(silence)
        listening.failures = 0
        return Effect.sleep(every)
      })),
      Effect.zipRight(Effect.suspend(() => appended.wait(appends, beat)))
    )
  })
  return Effect.forever(once)
}

const beat = "10 seconds"

const answerWithin = "5 seconds"

const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, string> =>
  Effect.tryPromise({ try: run, catch: messageOf })

const attemptSync = <A>(run: () => A): Effect.Effect<A, string> => Effect.try({ try: run, catch: messageOf })

const messageOf = (error: unknown): string => error instanceof Error ? error.message : "an unknown error"
