import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  Chunk,
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  FastCheck as fc,
  Fiber,
  FiberRef,
  HashMap,
  Logger,
  LogLevel,
  Metric,
  Option,
  Random,
  Schedule,
  Scope,
  TestClock,
  Tracer
} from "effect"
import { InvalidOption, Metrics, type SnapshotPolicy, StreamId } from "effect-eventsourcing"
import * as Snapshotter from "../src/internal/repository/snapshotter.js"
import { stream } from "./fixtures/Account.js"
import { sqliteFile } from "./utils/backends.js"
import { everything } from "./utils/mode.js"
import { tracing } from "./utils/observe.js"

/** Workers run whenever the test waits. */
const letRun = Effect.repeatN(Effect.yieldNow(), 20)

interface Line {
  readonly message: string
  readonly annotations: Readonly<Record<string, unknown>>
}

/** What is logged inside, besides in it. */
const logged = <A, E, R>(effect: (lines: ReadonlyArray<Line>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<Line> = []
    const collect = Logger.make(({ annotations, message }) => {
      lines.push({ message: String(message), annotations: Object.fromEntries(HashMap.toEntries(annotations)) })
    })
    return Effect.provide(effect(lines), Logger.replace(Logger.defaultLogger, collect))
  })

const counted = (metric: Metric.Metric.Counter<number>, aggregate: string) =>
  Effect.map(Metric.value(Metric.tagged(metric, "aggregate", aggregate)), ({ count }) => count)

const gauge = (aggregate: string) =>
  Effect.map(Metric.value(Metric.tagged(Metrics.snapshotsPending, "aggregate", aggregate)), ({ value }) => value)

/** A snapshotter in a scope of its own, whose saves stop at a gate and are recorded. */
const gated = (options: SnapshotPolicy.BackgroundOptions = {}, aggregate: string = crypto.randomUUID()) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const gate = yield* Effect.makeLatch(false)
    const saved: Array<string> = []
    const snapshotter = yield* Scope.extend(Snapshotter.make(aggregate, options), scope)
    const offer = (name: string, version: number, save?: Effect.Effect<unknown, unknown>) =>
      snapshotter.offer({
        stream: StreamId.make(aggregate, name),
        version,
        save: () =>
          Effect.zipRight(
            gate.await,
            Effect.zipRight(save ?? Effect.void, Effect.sync(() => saved.push(`${name}${version}`)))
          )
      })
    return { aggregate, close: Scope.close(scope, Exit.void), gate, offer, saved, snapshotter }
  })

describe("offers", () => {
  it.effect("one slot a stream, the latest version wins, the stream that has waited longest is next", () =>
    Effect.gen(function*() {
      const { close, gate, offer, saved, snapshotter } = yield* gated({ workers: 1 })
      assert.isTrue(offer("a", 1))
      yield* letRun
      // a is being written; all the others wait in the order in which they were first asked for
      for (const version of [2, 5, 3]) assert.isTrue(offer("b", version))
      for (const version of [9, 4]) assert.isTrue(offer("c", version))
      assert.isTrue(offer("a", 7))
      assert.isTrue(offer("a", 6))
      assert.isTrue(offer("b", 8))
      assert.strictEqual(yield* snapshotter.pending, 4)
      yield* gate.open
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(saved, ["a1", "b8", "c9", "a7"])
      assert.strictEqual(yield* snapshotter.pending, 0)
      yield* close
    }))

  it.effect("a request of an equal version replaces the one that waits", () =>
    Effect.gen(function*() {
      const { gate, offer, snapshotter } = yield* gated({ workers: 1 })
      offer("a", 1)
      yield* letRun
      let which = "none"
      offer("b", 1, Effect.sync(() => which = "first"))
      offer("b", 1, Effect.sync(() => which = "second"))
      yield* gate.open
      yield* snapshotter.awaitPending
      assert.strictEqual(which, "second")
    }))

  it.effect("a tentative request does not replace one that is due: both are taken, the tentative one last", () =>
    Effect.gen(function*() {
      const aggregate = crypto.randomUUID()
      const snapshotter = yield* Snapshotter.make(aggregate, { workers: 1 })
      const gate = yield* Effect.makeLatch(false)
      const saved: Array<string> = []
      const offer = (name: string, version: number, tentative?: boolean) =>
        snapshotter.offer({
          stream: StreamId.make(aggregate, name),
          version,
          tentative,
          save: () =>
            Effect.zipRight(
              gate.await,
              Effect.sync(() => saved.push(`${name} ${version}${tentative ? "?" : ""}`))
            )
        })
      offer("busy", 1)
      yield* letRun
      for (const version of [7, 8]) offer("a", version)
      for (const version of [9, 12, 11]) offer("a", version, true)
      for (const version of [5, 6]) offer("b", version, true)
      for (const version of [4, 3]) offer("b", version)
      // whatever is there when it is taken: nothing of its kind replaces it
      offer("c", 4)
      offer("c", Infinity)
      offer("c", 5)
      assert.strictEqual(yield* snapshotter.pending, 4)
      yield* gate.open
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(saved, ["busy 1", "a 8", "a 12?", "b 4", "b 6?", "c Infinity"])
    }).pipe(Effect.scoped))

  it.effect("a hot stream does not delay the others", () =>
    Effect.gen(function*() {
      const aggregate = crypto.randomUUID()
      const snapshotter = yield* Snapshotter.make(aggregate, { workers: 1 })
      const saved: Array<string> = []
      const offer = (name: string, version: number): boolean =>
        snapshotter.offer({
          stream: StreamId.make(aggregate, name),
          version,
          save: () =>
            Effect.sync(() => {
              saved.push(name)
              // asked for again while it is written
              if (name === "hot" && version < 20) offer(name, version + 1)
            })
        })
      offer("hot", 1)
      for (const name of ["a", "b", "c"]) offer(name, 1)
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(saved.slice(0, 5), ["hot", "a", "b", "c", "hot"])
      assert.strictEqual(saved.length, 23)
    }).pipe(Effect.scoped))

  it.effect("requests over the capacity are dropped, counted and logged, and may be made again later", () =>
    logged((lines) =>
      Effect.gen(function*() {
        const { aggregate, close, gate, offer, saved, snapshotter } = yield* gated({ workers: 1, capacity: 5 })
        offer("busy", 1)
        yield* letRun
        const accepted = Array.from({ length: 100 }, (_, n) => offer(`s${n}-`, 1)).filter((accepted) => accepted)
        assert.strictEqual(accepted.length, 5)
        assert.strictEqual(yield* counted(Metrics.snapshotsDropped, aggregate), 95)
        // whoever waits already is not turned away
        assert.isTrue(offer("s0-", 2))
        yield* letRun
        assert.deepStrictEqual(lines.map(({ annotations }) => annotations), [
          { aggregate, dropped: 95, waiting: 5, capacity: 5 }
        ])
        // one line a second, however many
        for (let n = 0; n < 50; n++) {
          offer("more", 1)
          yield* Effect.yieldNow()
        }
        assert.strictEqual(lines.length, 1)
        yield* TestClock.adjust("1 seconds")
        assert.deepStrictEqual(lines.map(({ annotations }) => annotations.dropped), [95, 50])
        yield* gate.open
        yield* snapshotter.awaitPending
        assert.deepStrictEqual(saved, ["busy1", "s0-2", "s1-1", "s2-1", "s3-1", "s4-1"])
        assert.isTrue(offer("s99-", 1))
        yield* snapshotter.awaitPending
        yield* close
      })
    ))

  it.effect("after closing, offers are dropped and nothing is pending", () =>
    Effect.gen(function*() {
      const { close, gate, offer, saved, snapshotter } = yield* gated()
      yield* gate.open
      yield* close
      assert.isFalse(offer("a", 1))
      assert.strictEqual(yield* snapshotter.pending, 0)
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(saved, [])
    }))

  const Step = fc.record({
    stream: fc.integer({ min: 0, max: 4 }),
    pause: fc.integer({ min: 0, max: 3 }),
    takes: fc.integer({ min: 0, max: 5 }),
    fails: fc.boolean()
  })

  it.effect.prop(
    "any offers: bounded, one save a stream at a time, in order, and the last version is saved",
    [fc.array(Step, { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 4 })],
    ([steps, workers, capacity]) =>
      Effect.gen(function*() {
        const aggregate = crypto.randomUUID()
        const scope = yield* Scope.make()
        const snapshotter = yield* Scope.extend(Snapshotter.make(aggregate, { workers, capacity }), scope)
        const running = new Set<number>()
        const saved = new Map<number, Array<number>>()
        const last = new Map<number, number>()
        const wrong: Array<string> = []
        for (const [index, { fails, pause, stream, takes }] of steps.entries()) {
          const version = index + 1
          let tries = 0
          const accepted = snapshotter.offer({
            stream: StreamId.make(aggregate, String(stream)),
            version,
            save: () =>
              Effect.gen(function*() {
                if (running.has(stream)) wrong.push(`two saves of ${stream} at a time`)
                if (running.size >= workers) wrong.push("more saves at a time than workers")
                running.add(stream)
                yield* Effect.sleep(takes)
                running.delete(stream)
                if (fails && ++tries < 3) return yield* Effect.fail("planned")
                saved.set(stream, [...saved.get(stream) ?? [], version])
              })
          })
          if (accepted) last.set(stream, version)
          const pending = yield* snapshotter.pending
          if (pending > capacity + workers) wrong.push(`${pending} are pending`)
          if (pause > 0) yield* TestClock.adjust(pause)
        }
        const waiting = yield* Effect.fork(snapshotter.awaitPending)
        yield* TestClock.adjust("1 minutes")
        yield* Fiber.join(waiting)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(wrong, [])
        assert.deepStrictEqual([...saved.keys()].sort(), [...last.keys()].sort())
        for (const [stream, versions] of saved) {
          assert.deepStrictEqual(versions, Array.from(new Set(versions)).sort((a, b) => a - b))
          assert.strictEqual(versions.at(-1), last.get(stream))
        }
      }),
    { fastCheck: { numRuns: everything ? 30 : 8 } }
  )
})

describe("failures", () => {
  const broken: ReadonlyArray<readonly [name: string, save: Effect.Effect<unknown, unknown>]> = [
    ["fails", Effect.fail("planned")],
    ["dies", Effect.die(new Error("planned"))],
    [
      "throws",
      Effect.sync(() => {
        throw new Error("planned")
      })
    ],
    ["interrupts itself", Effect.interrupt],
    ["hangs", Effect.never]
  ]
  for (const [name, save] of broken) {
    it.effect(`a save that ${name} is retried by the schedule, logged and counted, and does not end a worker`, () =>
      logged((lines) =>
        Effect.gen(function*() {
          const { aggregate, gate, offer, saved, snapshotter } = yield* gated({
            workers: 1,
            timeout: "1 seconds",
            retry: Schedule.recurs(3)
          })
          let tries = 0
          const counting = Effect.suspend(() => {
            tries++
            return save
          })
          for (const stream of ["a", "b", "c"]) offer(stream, 1, counting)
          let fails = 3
          offer("at last", 1, Effect.suspend(() => fails-- > 0 ? save : Effect.void))
          yield* gate.open
          yield* TestClock.adjust("1 minutes")
          yield* snapshotter.awaitPending
          assert.strictEqual(tries, 12)
          assert.deepStrictEqual(saved, ["at last1"])
          assert.strictEqual(yield* counted(Metrics.snapshotSaveFailures, aggregate), 3)
          assert.strictEqual(yield* counted(Metrics.snapshotSaves, aggregate), 1)
          assert.deepStrictEqual(lines.map(({ annotations }) => annotations), [
            { aggregate, id: "a" },
            { aggregate, id: "b" },
            { aggregate, id: "c" }
          ])
          assert.isTrue(lines.every(({ message }) => message.includes("a background snapshot failed")))
        }).pipe(Effect.zipLeft(TestClock.adjust("1 minutes")))
      ))
  }

  it.effect("the default schedule retries twice, after 100 and 200 milliseconds", () =>
    Effect.gen(function*() {
      const { gate, offer, snapshotter } = yield* gated()
      const times: Array<number> = []
      offer(
        "a",
        1,
        Effect.zipRight(
          Effect.map(TestClock.currentTimeMillis, (time) => times.push(time)),
          Effect.fail("planned")
        )
      )
      yield* gate.open
      yield* TestClock.adjust("10 seconds")
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(times, [0, 100, 300])
    }))

  it.effect("a schedule or a logger that throws does not end a worker", () =>
    Effect.gen(function*() {
      const { gate, offer, saved, snapshotter } = yield* gated({
        workers: 1,
        retry: Schedule.recurs(1).pipe(Schedule.mapEffect(() => Effect.die("schedule")))
      })
      offer("a", 1, Effect.fail("planned"))
      offer("b", 1)
      yield* gate.open
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(saved, ["b1"])
      const silent = yield* gated({ workers: 1, retry: Schedule.stop })
      silent.offer("a", 1, Effect.fail("planned"))
      silent.offer("b", 1)
      yield* silent.gate.open
      yield* silent.snapshotter.awaitPending
      assert.deepStrictEqual(silent.saved, ["b1"])
    }).pipe(Effect.provide(Logger.replace(
      Logger.defaultLogger,
      Logger.make(() => {
        throw new Error("logger")
      })
    ))))

  it.effect("the timeout begins anew with each heartbeat", () =>
    Effect.gen(function*() {
      const snapshotter = yield* Snapshotter.make("Account", { workers: 1, timeout: "1 seconds", retry: Schedule.stop })
      const ended: Array<string> = []
      const offer = (name: string, steps: number, then: Effect.Effect<unknown>) =>
        snapshotter.offer({
          stream: stream(name),
          version: 1,
          save: (heartbeat) =>
            Effect.sleep("900 millis").pipe(
              Effect.zipRight(Effect.sync(heartbeat)),
              Effect.repeatN(steps - 1),
              Effect.zipRight(then),
              Effect.onExit((exit) => Effect.sync(() => ended.push(`${name} ${exit._tag}`)))
            )
        })
      offer("long", 20, Effect.void)
      offer("hangs in the end", 3, Effect.never)
      offer("next", 1, Effect.void)
      yield* TestClock.adjust("17 seconds")
      assert.deepStrictEqual(ended, [])
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(ended, ["long Success"])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(ended, ["long Success", "hangs in the end Failure", "next Success"])
    }).pipe(Effect.scoped))

  it.effect("a save that hangs and cannot be interrupted: no second one of its stream, and other streams continue", () =>
    logged((lines) =>
      Effect.gen(function*() {
        const { aggregate, close, gate, offer, saved, snapshotter } = yield* gated({ workers: 1, timeout: "1 seconds" })
        yield* gate.open
        const stuck = yield* Deferred.make<void>()
        let running = 0
        let most = 0
        const save = Effect.uninterruptible(Effect.gen(function*() {
          most = Math.max(most, ++running)
          yield* Deferred.await(stuck)
          running--
        }))
        offer("a", 1, save)
        yield* letRun
        assert.isTrue(offer("a", 2, save))
        offer("b", 1)
        const waiting = yield* Effect.fork(snapshotter.awaitPending)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(waiting)
        assert.deepStrictEqual(saved, ["b1"])
        // what waited behind it
        assert.strictEqual(yield* counted(Metrics.snapshotsDropped, aggregate), 1)
        const droppedLines = () => lines.filter(({ annotations }) => "dropped" in annotations)
        assert.deepStrictEqual(droppedLines().map(({ annotations }) => [annotations.aggregate, annotations.dropped]), [
          [aggregate, 1]
        ])
        assert.strictEqual(yield* snapshotter.pending, 0)
        assert.strictEqual(yield* gauge(aggregate), 0)
        assert.isFalse(offer("a", 3))
        assert.isTrue(offer("b", 2))
        yield* snapshotter.awaitPending
        yield* TestClock.adjust("1 seconds")
        assert.deepStrictEqual(droppedLines().map(({ annotations }) => annotations.dropped), [1, 1])
        yield* Deferred.succeed(stuck, void 0)
        yield* letRun
        // it is over: the stream is taken again
        assert.isTrue(offer("a", 4))
        yield* snapshotter.awaitPending
        assert.deepStrictEqual(saved, ["b1", "b2", "a4"])
        assert.strictEqual(most, 1)
        yield* close
      })
    ))

  it.effect("streams whose saves hang count as waiting, so the queue stays bounded", () =>
    Effect.gen(function*() {
      const { close, gate, offer } = yield* gated({ workers: 2, capacity: 3, timeout: "1 seconds" })
      yield* gate.open
      let running = 0
      const save = Effect.zipRight(Effect.sync(() => running++), Effect.uninterruptible(Effect.never))
      for (let n = 0; n < 20; n++) {
        offer(String(n), 1, save)
        yield* TestClock.adjust("10 seconds")
      }
      assert.isAtMost(running, 4)
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("1 minutes")
      yield* Fiber.join(closing)
    }))
})

describe("the fibers of the workers", () => {
  const local = FiberRef.unsafeMake("nobody's")
  class Secret extends Context.Tag("Secret")<Secret, string>() {}

  it.scoped("have no transaction, service, span, local or annotation of a caller or of the fiber that built them", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const seen: Array<unknown> = []
      const { traced } = yield* tracing
      const look = Effect.gen(function*() {
        const context = yield* Effect.context<never>()
        const span = yield* Effect.option(Effect.currentSpan)
        seen.push({
          transaction: Option.isSome(Context.getOption(context, SqlClient.TransactionConnection)),
          secret: Option.isSome(Context.getOption(context, Secret)),
          span: Option.map(span, ({ links, name, parent }) => [name, parent._tag, links.length]),
          local: yield* FiberRef.get(local),
          annotations: HashMap.size(yield* FiberRef.get(FiberRef.currentLogAnnotations)),
          logSpans: Array.from(yield* FiberRef.get(FiberRef.currentLogSpan)).length,
          spanAnnotations: HashMap.size(yield* FiberRef.get(FiberRef.currentTracerSpanAnnotations)),
          metricLabels: (yield* FiberRef.get(FiberRef.currentMetricLabels)).length,
          batching: yield* FiberRef.get(FiberRef.currentRequestBatchingEnabled)
        })
      })
      const request = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        sql.withTransaction(effect).pipe(
          Effect.provideService(Secret, "s"),
          Effect.annotateLogs("request", "r"),
          Effect.withLogSpan("request"),
          Effect.annotateSpans("request", "r"),
          Effect.linkSpans(Tracer.externalSpan({ spanId: "1", traceId: "2" })),
          Effect.tagMetrics("request", "r"),
          Effect.withRequestBatching(false),
          Effect.withSpan("request"),
          traced,
          Effect.locally(local, "a caller's")
        )
      const built = yield* request(Snapshotter.make("Account"))
      yield* request(Effect.sync(() => built.offer({ stream: stream("a"), version: 1, save: () => look })))
      yield* built.awaitPending
      assert.deepStrictEqual(seen, [{
        transaction: false,
        secret: false,
        span: Option.some(["Snapshotter.write", "None", 0]),
        local: "nobody's",
        annotations: 0,
        logSpans: 0,
        spanAnnotations: 0,
        metricLabels: 0,
        batching: true
      }])
    }).pipe(Effect.provide(sqliteFile(":memory:"))))

  it.scoped("do not keep the fiber refs that an earlier save set", () =>
    Effect.gen(function*() {
      const { traced } = yield* tracing
      const snapshotter = yield* traced(Snapshotter.make("Account", { workers: 1 }))
      const seen: Array<unknown> = []
      const look = Effect.gen(function*() {
        seen.push([yield* FiberRef.get(local), (yield* Effect.currentSpan).links.length])
        yield* FiberRef.set(local, "left behind")
        yield* FiberRef.set(
          FiberRef.currentTracerSpanLinks,
          Chunk.of({ _tag: "SpanLink", span: yield* Effect.currentSpan, attributes: {} } as const)
        )
      })
      for (const name of ["a", "b"]) {
        snapshotter.offer({ stream: stream(name), version: 1, save: () => look })
        yield* snapshotter.awaitPending
      }
      assert.deepStrictEqual(seen, [["nobody's", 0], ["nobody's", 0]])
    }))

  it.scoped("have the configuration, randomness, log level and scheduling of the fiber that built them", () =>
    Effect.gen(function*() {
      const snapshotter = yield* Snapshotter.make("Account").pipe(
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["name", "the builder's"]]))),
        Effect.withRandom(Random.make("the builder's")),
        Logger.withMinimumLogLevel(LogLevel.Error),
        Effect.withMaxOpsBeforeYield(17),
        Effect.withTracerTiming(false)
      )
      const seen: Array<unknown> = []
      snapshotter.offer({
        stream: stream("a"),
        version: 1,
        save: () =>
          Effect.gen(function*() {
            seen.push(
              yield* Config.string("name"),
              yield* Random.nextInt,
              (yield* FiberRef.get(FiberRef.currentMinimumLogLevel)).label,
              yield* FiberRef.get(FiberRef.currentMaxOpsBeforeYield),
              yield* FiberRef.get(FiberRef.currentTracerTimingEnabled)
            )
          })
      })
      yield* snapshotter.awaitPending
      const number = yield* Effect.withRandom(Random.nextInt, Random.make("the builder's"))
      assert.deepStrictEqual(seen, ["the builder's", number, "ERROR", 17, false])
    }))

  it.scoped("run under the clock, the tracer and the loggers of the fiber that built them", () =>
    Effect.gen(function*() {
      const { spans, traced } = yield* tracing
      const snapshotter = yield* traced(Snapshotter.make("Account"))
      snapshotter.offer({ stream: stream("a"), version: 1, save: () => Effect.void })
      yield* snapshotter.awaitPending
      assert.deepStrictEqual(spans.map(({ name }) => name), ["Snapshotter.write"])
    }))
})

describe("closing", () => {
  it.effect("waits for pending saves", () =>
    Effect.gen(function*() {
      const { close, gate, offer, saved } = yield* gated({ workers: 2 })
      for (let n = 0; n < 30; n++) offer(`s${n}-`, 1)
      const closing = yield* Effect.fork(close)
      yield* letRun
      assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
      yield* gate.open
      yield* Fiber.join(closing)
      assert.strictEqual(saved.length, 30)
    }))

  const hanging: ReadonlyArray<readonly [name: string, save: Effect.Effect<unknown>]> = [
    ["hang", Effect.never],
    ["hang and cannot be interrupted", Effect.uninterruptible(Effect.never)]
  ]
  for (const [name, save] of hanging) {
    it.effect(`at the deadline it gives up saves that ${name}, and logs their streams`, () =>
      logged((lines) =>
        Effect.gen(function*() {
          const { aggregate, close, gate, offer, saved, snapshotter } = yield* gated({
            workers: 2,
            capacity: 100,
            timeout: "1 hours",
            drainTimeout: "3 seconds"
          })
          let interrupted = 0
          const never = Effect.onInterrupt(save, () => Effect.sync(() => interrupted++))
          offer("a", 7, never)
          offer("b", 8, never)
          for (let n = 0; n < 30; n++) offer(`s${n}`, n)
          yield* gate.open
          yield* letRun
          assert.strictEqual(yield* gauge(aggregate), 32)
          const closing = yield* Effect.fork(close)
          yield* TestClock.adjust("2999 millis")
          assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
          yield* TestClock.adjust("1 millis")
          yield* letRun
          // the stores stay open for as long as what was interrupted needs to end, but not for ever
          if (name !== "hang") {
            yield* TestClock.adjust("999 millis")
            assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
            yield* TestClock.adjust("1 millis")
          }
          yield* Fiber.join(closing)
          assert.strictEqual(interrupted, name === "hang" ? 2 : 0)
          assert.deepStrictEqual(saved, [])
          assert.strictEqual(lines.length, name === "hang" ? 1 : 2)
          assert.deepStrictEqual(lines[0].annotations, { aggregate, waiting: 30, active: 2 })
          for (const named of ["a\" at 7", "b\" at 8", "s0\" at 0", "and 12 more"]) {
            assert.include(lines[0].message, named)
          }
          if (name !== "hang") {
            assert.deepStrictEqual(lines[1].annotations, { aggregate, running: 2 })
            assert.include(lines[1].message, "could not be interrupted")
            assert.include(lines[1].message, "b\" at 8")
          }
          // nobody is left waiting, and nothing is counted for ever
          yield* snapshotter.awaitPending
          assert.strictEqual(yield* gauge(aggregate), 0)
        })
      ))
  }

  it.effect("an interrupted save may take a moment to end, while the stores are still open", () =>
    Effect.gen(function*() {
      const record: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.addFinalizer(scope, Effect.sync(() => record.push("stores closed")))
      const snapshotter = yield* Scope.extend(Snapshotter.make("Account", { drainTimeout: "3 seconds" }), scope)
      snapshotter.offer({
        stream: stream("a"),
        version: 1,
        save: () =>
          Effect.onInterrupt(
            Effect.never,
            () => Effect.zipRight(Effect.sleep("600 millis"), Effect.sync(() => record.push("cancelled")))
          )
      })
      yield* letRun
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("3500 millis")
      assert.deepStrictEqual(record, [])
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(record, ["cancelled", "stores closed"])
    }))

  it.effect("so may a save that was given up before", () =>
    Effect.gen(function*() {
      const record: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.addFinalizer(scope, Effect.sync(() => record.push("stores closed")))
      const snapshotter = yield* Scope.extend(
        Snapshotter.make("Account", { timeout: "1 seconds", retry: Schedule.stop }),
        scope
      )
      const save = Effect.zipRight(Effect.sleep("2500 millis"), Effect.sync(() => record.push("ended")))
      snapshotter.offer({ stream: stream("a"), version: 1, save: () => Effect.uninterruptible(save) })
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* snapshotter.pending, 0)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(record, ["ended", "stores closed"])
    }))

  it.effect("inside a transaction it does not wait, and logs the abandoned streams", () =>
    logged((lines) =>
      Effect.gen(function*() {
        class Transaction extends Context.Tag("Transaction")<Transaction, true>() {}
        const inTransaction = Effect.map(Effect.serviceOption(Transaction), Option.isSome)
        for (const inside of [true, false]) {
          const scope = yield* Scope.make()
          const snapshotter = yield* Scope.extend(Snapshotter.make("Account", { inTransaction }), scope)
          const save = Effect.sleep("1 seconds")
          snapshotter.offer({ stream: stream("a"), version: 1, save: () => save })
          const closing = yield* Scope.close(scope, Exit.void).pipe(
            inside ? Effect.provideService(Transaction, true) : (effect) => effect,
            Effect.fork
          )
          yield* letRun
          assert.strictEqual(Option.isSome(yield* Fiber.poll(closing)), inside)
          yield* TestClock.adjust("1 seconds")
          yield* Fiber.join(closing)
        }
        assert.strictEqual(lines.length, 1)
        assert.include(lines[0].message, "inside a transaction")
        assert.include(lines[0].message, "a\" at 1")
      })
    ))

  it.effect("requests that no worker had taken do not stay pending", () =>
    Effect.gen(function*() {
      const aggregate = crypto.randomUUID()
      const scope = yield* Scope.make()
      const options = { inTransaction: Effect.succeed(true) }
      const snapshotter = yield* Scope.extend(Snapshotter.make(aggregate, options), scope)
      snapshotter.offer({ stream: stream("a"), version: 1, save: () => Effect.void })
      // no worker runs before it
      yield* Scope.close(scope, Exit.void)
      yield* snapshotter.awaitPending
      assert.strictEqual(yield* snapshotter.pending, 0)
      assert.strictEqual(yield* gauge(aggregate), 0)
    }))

  it.effect("it ends although the layer was built in an uninterruptible region", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const snapshotter = yield* Effect.uninterruptible(Scope.extend(Snapshotter.make("Account"), scope))
      snapshotter.offer({ stream: stream("a"), version: 1, save: () => Effect.never })
      yield* letRun
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 minutes")
      assert.isTrue(Option.isSome(yield* Fiber.poll(closing)))
    }))

  it.effect("requests dropped since the last log line are logged when it closes", () =>
    logged((lines) =>
      Effect.gen(function*() {
        const { close, gate, offer } = yield* gated({ workers: 1, capacity: 1 })
        for (const name of ["a", "b", "c"]) offer(name, 1)
        yield* letRun
        offer("d", 1)
        offer("e", 1)
        yield* gate.open
        yield* close
        assert.deepStrictEqual(lines.map(({ annotations }) => annotations.dropped), [2, 1])
      })
    ))

  it.effect("the gauge is the sum over two snapshotters of one aggregate", () =>
    Effect.gen(function*() {
      const aggregate = crypto.randomUUID()
      const one = yield* gated({ workers: 1 }, aggregate)
      const two = yield* gated({ workers: 1 }, aggregate)
      for (const name of ["a", "b", "c"]) one.offer(name, 1)
      for (const name of ["a", "b"]) two.offer(name, 1)
      assert.strictEqual(yield* gauge(aggregate), 5)
      yield* one.gate.open
      yield* one.snapshotter.awaitPending
      assert.strictEqual(yield* gauge(aggregate), 2)
      yield* two.gate.open
      yield* two.close
      assert.strictEqual(yield* gauge(aggregate), 0)
    }))
})

describe("bad input", () => {
  it.scoped("invalid options are typed errors", () =>
    Effect.gen(function*() {
      const counts = [0, -1, 1.5, NaN, Infinity, 2 ** 60]
      const durations = [0, -1, NaN, Infinity, "-1 seconds", "0 millis", "Infinity", Duration.infinity, 0n] as const
      const wrong: ReadonlyArray<SnapshotPolicy.BackgroundOptions> = [
        ...counts.map((workers) => ({ workers })),
        ...counts.map((capacity) => ({ capacity })),
        ...durations.map((timeout) => ({ timeout })),
        ...durations.map((drainTimeout) => ({ drainTimeout })),
        JSON.parse("{\"timeout\":\"5 parsecs\"}")
      ]
      for (const options of wrong) {
        const failure = yield* Effect.flip(Snapshotter.make("Account", options))
        assert.instanceOf(failure, InvalidOption.InvalidOption)
        assert.include(failure.option, Object.keys(options)[0])
      }
    }))
})
