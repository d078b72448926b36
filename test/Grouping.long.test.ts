// operations of many fibers that are sent together
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, FastCheck as fc, Fiber, identity, Option, Scheduler } from "effect"
import { afterEach, beforeEach, vi } from "vitest"
import * as EventLoop from "../src/internal/sql/eventLoop.js"
import type * as Grouping from "../src/internal/sql/grouping.js"
import * as Lanes from "../src/internal/sql/lanes.js"
import * as Rounds from "../src/internal/sql/rounds.js"

type Answer = string

/** Sends that end when the test says so. */
const makeSends = () => {
  const sends: Array<{ readonly items: ReadonlyArray<string>; readonly end: Deferred.Deferred<void, string> }> = []
  const alone: Array<string> = []
  let interrupted = 0
  return {
    sends,
    alone,
    get interrupted() {
      return interrupted
    },
    options: {
      capacity: 100,
      weigh: (item: string) => Number(item.split("*")[1] ?? 10),
      send: (items: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const end = yield* Deferred.make<void, string>()
          sends.push({ items, end })
          yield* Effect.onInterrupt(Deferred.await(end), () => Effect.sync(() => interrupted++))
          return items.map((item): Answer | undefined => item.startsWith("none") ? undefined : `${item} in a group`)
        })
    } satisfies Grouping.Options<string, Answer, string>,
    /** Runs alone until the deferred is done. */
    on:
      (run: Grouping.Grouping<string, Answer, string>["run"]) =>
      (item: string, until: Effect.Effect<void> = Effect.void) =>
        run(
          item,
          Effect.suspend(() => {
            alone.push(item)
            return Effect.as(until, `${item} alone`)
          })
        )
  }
}

/** The timers of 20 ms, which end when the test says so. Effect's scheduler has timers of its own, which go on. */
const timers = new Map<unknown, () => void>()
const fire = () => {
  const due = Array.from(timers.values())
  timers.clear()
  for (const callback of due) callback()
}

const isLost = (exit: Exit.Exit<unknown, string>): boolean =>
  Exit.isFailure(exit) && Option.contains(Cause.failureOption(exit.cause), "lost")

/** Stops a fiber after so many steps, until the test goes on with it. */
const stoppingAt = (at: number) => {
  const stopped: Array<() => void> = []
  let step = 0
  const scheduler: Scheduler.Scheduler = {
    scheduleTask: (task, priority, fiber) =>
      priority === 9 ? stopped.push(task) : Scheduler.defaultScheduler.scheduleTask(task, priority, fiber),
    shouldYield: () => ++step === at && 9
  }
  return {
    scheduler,
    goOn: () => {
      for (const task of stopped.splice(0)) task()
    }
  }
}

/** Lets all fibers run that can. */
const settle = Effect.repeatN(Effect.yieldNow({ priority: 2 }), 5)

describe("lanes", () => {
  beforeEach(() => {
    timers.clear()
    const { clearTimeout, setTimeout } = globalThis
    vi.stubGlobal("setTimeout", (callback: () => void, millis?: number): unknown => {
      if (millis !== 20) return setTimeout(callback, millis)
      const timer = {}
      timers.set(timer, callback)
      return timer
    })
    vi.stubGlobal("clearTimeout", (timer: ReturnType<typeof setTimeout>) => {
      if (!timers.delete(timer)) clearTimeout(timer)
    })
  })
  afterEach(() => {
    vi.unstubAllGlobals()
  })

  const lanes = (sends: ReturnType<typeof makeSends>) =>
    sends.on(Lanes.make({ ...sends.options, lanes: 1, patience: 20 }).run)

  type Run = ReturnType<typeof lanes>

  /** A lane after its first group, which had what two fibers ran while "a" had the lane. */
  const afterGroup = (each: (run: Run) => (item: string) => Effect.Effect<unknown, string> = identity) =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      const until = yield* Deferred.make<void>()
      yield* Effect.fork(run("a", Deferred.await(until)))
      yield* settle
      yield* Effect.forEach(["b", "c"], (item) => Effect.fork(each(run)(item)))
      yield* settle
      yield* Deferred.succeed(until, undefined)
      yield* settle
      yield* Deferred.succeed(sends.sends[0].end, undefined)
      yield* settle
      return { run, sends }
    })

  it.effect("an operation that finds a free lane runs alone and at once, one after the other", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      assert.deepStrictEqual(yield* Effect.all([run("a"), run("b")]), ["a alone", "b alone"])
      assert.strictEqual(timers.size, 0)
    }))

  it.effect("operations that wait for a lane are sent together when it becomes free, each with its own answer", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      const until = yield* Deferred.make<void>()
      const fibers = yield* Effect.forEach(
        ["a", "b", "none", "c"],
        (item) => Effect.fork(run(item, Deferred.await(until)))
      )
      yield* settle
      assert.deepStrictEqual(sends.alone, ["a"])
      assert.lengthOf(sends.sends, 0)
      yield* Deferred.succeed(until, undefined)
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b", "none", "c"]])
      // these find the lane taken by the group
      const late = yield* Effect.fork(run("d"))
      yield* settle
      yield* Deferred.succeed(sends.sends[0].end, undefined)
      yield* settle
      yield* Deferred.succeed(sends.sends[1].end, undefined)
      assert.deepStrictEqual(yield* Fiber.join(Fiber.all(fibers)), [
        "a alone",
        "b in a group",
        "none alone",
        "c in a group"
      ])
      assert.strictEqual(yield* Fiber.join(late), "d in a group")
      assert.strictEqual(yield* run("e"), "e alone")
      assert.strictEqual(timers.size, 0)
    }))

  it.effect("after a group, operations wait for the fibers that are ready, until a group has one operation", () =>
    Effect.gen(function*() {
      const { run, sends } = yield* afterGroup((run) => (item) => Effect.zip(run(item), run(`${item} again`)))
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b", "c"], ["b again", "c again"]])
      yield* Deferred.succeed(sends.sends[1].end, undefined)
      yield* settle
      const last = yield* Effect.fork(Effect.zip(run("d"), run("e")))
      yield* settle
      assert.deepStrictEqual(sends.sends[2].items, ["d"])
      yield* Deferred.succeed(sends.sends[2].end, undefined)
      assert.deepStrictEqual(yield* Fiber.join(last), ["d in a group", "e alone"])
      assert.deepStrictEqual(sends.alone, ["a", "e"])
    }))

  it.effect("after a group, an operation does not wait for the fibers of another scheduler", () =>
    Effect.gen(function*() {
      const { run, sends } = yield* afterGroup()
      const tasks: Array<() => void> = []
      const slow: Scheduler.Scheduler = {
        scheduleTask: (task, priority, fiber) =>
          priority === 1 ? tasks.push(task) : Scheduler.defaultScheduler.scheduleTask(task, priority, fiber),
        shouldYield: () => false
      }
      const waiting = yield* Effect.forkDaemon(Effect.withScheduler(run("d"), slow))
      yield* settle
      assert.strictEqual(yield* run("e"), "e alone")
      for (const task of tasks) task()
      yield* settle
      yield* Deferred.succeed(sends.sends[1].end, undefined)
      assert.strictEqual(yield* Fiber.join(waiting), "d in a group")
    }))

  it.effect("an operation that finds no lane does not wait for the fibers of another scheduler", () =>
    Effect.gen(function*() {
      const { run, sends } = yield* afterGroup()
      // it never runs what waits for the other fibers
      const stopped: Scheduler.Scheduler = {
        scheduleTask: (task, priority, fiber) => {
          if (priority !== 1) Scheduler.defaultScheduler.scheduleTask(task, priority, fiber)
        },
        shouldYield: () => false
      }
      yield* Effect.forkDaemon(Effect.withScheduler(run("d"), stopped))
      yield* settle
      const free = yield* Deferred.make<void>()
      yield* Effect.fork(run("e", Deferred.await(free)))
      yield* settle
      const last = yield* Effect.fork(run("f"))
      yield* settle
      yield* Deferred.succeed(free, undefined)
      yield* settle
      assert.deepStrictEqual(sends.sends.slice(1).map(({ items }) => items), [["d", "f"]])
      yield* Deferred.succeed(sends.sends[1].end, undefined)
      assert.strictEqual(yield* Fiber.join(last), "f in a group")
    }))

  it.effect("a group has its lane's share of the operations", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = sends.on(Lanes.make({ ...sends.options, lanes: 2, patience: 20 }).run)
      const until = yield* Deferred.make<void>()
      yield* Effect.fork(run("a", Deferred.await(until)))
      const other = yield* Deferred.make<void>()
      yield* Effect.fork(run("b", Deferred.await(other)))
      yield* settle
      yield* Effect.forEach(
        ["c", "d", "e", "f"],
        (item) => Effect.fork(Effect.zip(run(item), run(`${item} again`)))
      )
      yield* settle
      yield* Deferred.succeed(until, undefined)
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["c", "d", "e"]])
      // what waits goes with the fibers of the group that ends
      yield* Deferred.succeed(sends.sends[0].end, undefined)
      yield* settle
      assert.deepStrictEqual(sends.sends[1]?.items, ["f", "c again", "d again"])
      yield* Deferred.succeed(other, undefined)
      yield* settle
      assert.deepStrictEqual(sends.sends[2]?.items, ["e again"])
    }))

  it.effect("a group has the operations that fit, and a heavy one runs alone although no lane is free", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      const until = yield* Deferred.make<void>()
      yield* Effect.fork(run("a", Deferred.await(until)))
      yield* settle
      yield* Effect.forEach(["b*25", "c*25", "d*25", "e*25", "f*25"], (item) => Effect.fork(run(item)))
      assert.strictEqual(yield* run("heavy*26"), "heavy*26 alone")
      yield* Deferred.succeed(until, undefined)
      yield* settle
      yield* Deferred.succeed(sends.sends[0].end, undefined)
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b*25", "c*25", "d*25", "e*25"], ["f*25"]])
    }))

  it.effect("each operation fails if the group fails, and is run alone if the group dies", () =>
    Effect.gen(function*() {
      for (
        const [cause, answers] of [
          [Cause.fail("lost"), ["lost", "lost"]],
          [Cause.die("a mistake"), ["b alone", "c alone"]]
        ] as const
      ) {
        const sends = makeSends()
        const run = lanes(sends)
        const until = yield* Deferred.make<void>()
        yield* Effect.fork(run("a", Deferred.await(until)))
        yield* settle
        const fibers = yield* Effect.forEach(["b", "c"], (item) => Effect.fork(Effect.merge(run(item))))
        yield* settle
        yield* Deferred.succeed(until, undefined)
        yield* settle
        yield* Deferred.failCause(sends.sends[0].end, cause)
        assert.deepStrictEqual(yield* Fiber.join(Fiber.all(fibers)), [...answers])
      }
    }))

  it.effect("a group for which no fiber waits any more is interrupted, and gives its lane back", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      const first = yield* Effect.fork(run("a", Effect.never))
      yield* settle
      const [b, c] = yield* Effect.forEach(["b", "c"], (item) => Effect.fork(run(item)))
      yield* settle
      yield* Fiber.interrupt(first)
      yield* settle
      yield* Fiber.interrupt(b)
      assert.strictEqual(sends.interrupted, 0)
      yield* Fiber.interrupt(c)
      assert.strictEqual(sends.interrupted, 1)
      assert.strictEqual(yield* run("d"), "d alone")
    }))

  it.effect("an operation is sent at once if a lane becomes free before it is in the queue", () =>
    Effect.gen(function*() {
      for (let steps = 1; steps < 40; steps++) {
        const sends = makeSends()
        const run = lanes(sends)
        const until = yield* Deferred.make<void>()
        yield* Effect.fork(run("a", Deferred.await(until)))
        yield* settle
        const { goOn, scheduler } = stoppingAt(steps)
        const b = yield* Effect.forkDaemon(Effect.withScheduler(run("b"), scheduler))
        yield* settle
        yield* Deferred.succeed(until, undefined)
        yield* settle
        for (let n = 0; n < 20; n++) {
          goOn()
          for (const { end } of sends.sends) yield* Deferred.succeed(end, undefined)
          assert.strictEqual(timers.size, 0, `${steps} steps`)
          yield* settle
        }
        assert.include(yield* Fiber.join(b), "b ")
      }
    }))

  it.effect("an interruption removes a waiting operation, and after the send it only ends the waiting", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      const until = yield* Deferred.make<void>()
      const first = yield* Effect.fork(run("a", Deferred.await(until)))
      yield* settle
      const [b, c, d] = yield* Effect.forEach(["b", "c", "d"], (item) => Effect.fork(run(item)))
      yield* settle
      yield* Fiber.interrupt(b)
      // gives its lane back
      yield* Fiber.interrupt(first)
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["c", "d"]])
      yield* Fiber.interrupt(c)
      yield* Deferred.succeed(sends.sends[0].end, undefined)
      assert.strictEqual(yield* Fiber.join(d), "d in a group")
      assert.deepStrictEqual(sends.alone, ["a"])
    }))

  it.effect("operations that wait for a slow send are sent after a while, and that send loses its lane", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = lanes(sends)
      yield* Effect.fork(run("a", Effect.never))
      yield* settle
      const b = yield* Effect.fork(run("b"))
      yield* settle
      assert.lengthOf(sends.sends, 0)
      fire()
      yield* settle
      const c = yield* Effect.fork(run("c"))
      yield* settle
      assert.lengthOf(sends.sends, 1)
      fire()
      yield* settle
      yield* Deferred.succeed(sends.sends[1].end, undefined)
      assert.strictEqual(yield* Fiber.join(c), "c in a group")
      yield* Deferred.succeed(sends.sends[0].end, undefined)
      assert.strictEqual(yield* Fiber.join(b), "b in a group")
      // the send that is held up has no lane any more
      assert.deepStrictEqual(yield* Effect.all([run("d"), run("e")]), ["d alone", "e alone"])
      assert.strictEqual(timers.size, 0)
    }))

  const step = fc.oneof(
    fc.record({ tag: fc.constant("run" as const), weight: fc.integer({ min: 1, max: 40 }) }),
    fc.record({
      tag: fc.constantFrom("end" as const, "fail" as const, "interrupt" as const, "wait" as const, "free" as const),
      index: fc.nat(9)
    })
  )

  it.effect.prop(
    "every operation that is not interrupted is answered once, and no lane is lost",
    { steps: fc.array(step, { maxLength: 40 }), lanes: fc.integer({ min: 1, max: 3 }) },
    ({ lanes, steps }) =>
      Effect.gen(function*() {
        const sends = makeSends()
        const run = sends.on(Lanes.make({ ...sends.options, lanes, patience: 20 }).run)
        const fibers: Array<Fiber.Fiber<Answer, string>> = []
        const interrupted = new Set<number>()
        const frees: Array<Deferred.Deferred<void>> = []
        for (const each of steps) {
          if (each.tag === "run") {
            const free = yield* Deferred.make<void>()
            frees.push(free)
            fibers.push(yield* Effect.fork(run(`${fibers.length}*${each.weight}`, Deferred.await(free))))
          } else if (each.tag === "end" && each.index < sends.sends.length) {
            yield* Deferred.succeed(sends.sends[each.index].end, undefined)
          } else if (each.tag === "fail" && each.index < sends.sends.length) {
            yield* Deferred.fail(sends.sends[each.index].end, "lost")
          } else if (each.tag === "interrupt" && each.index < fibers.length) {
            interrupted.add(each.index)
            yield* Fiber.interrupt(fibers[each.index])
          } else if (each.tag === "free" && each.index < frees.length) {
            yield* Deferred.succeed(frees[each.index], undefined)
          } else fire()
          yield* settle
        }
        for (const free of frees) yield* Deferred.succeed(free, undefined)
        yield* settle
        for (let n = 0; n < sends.sends.length; n++) {
          yield* Deferred.succeed(sends.sends[n].end, undefined)
          yield* settle
        }
        for (const [index, fiber] of fibers.entries()) {
          const exit = yield* Fiber.await(fiber)
          if (!interrupted.has(index)) assert.isTrue(Exit.isSuccess(exit) || isLost(exit))
          if (Exit.isSuccess(exit)) assert.isTrue(exit.value.startsWith(`${index}*`), exit.value)
        }
        const sent = sends.sends.flatMap(({ items }) => items)
        assert.strictEqual(new Set(sent).size, sent.length)
        // after a group, the next operation is one too
        const last = yield* Effect.fork(run("last"))
        yield* settle
        for (const { end } of sends.sends) yield* Deferred.succeed(end, undefined)
        assert.match(yield* Fiber.join(last), /^last /)
        // all lanes are free again
        assert.strictEqual(yield* run("more"), "more alone")
        assert.strictEqual(timers.size, 0)
      }),
    { fastCheck: { numRuns: 200 } }
  )
})

describe("rounds", () => {
  /** Operations take as long as the test says, and the sockets that are ready are read when the test says so. */
  const loop = () => {
    const callbacks: Array<() => void> = []
    let millis = 0
    let now = 0
    return {
      eventLoop: {
        ...EventLoop.real,
        now: () => now += millis,
        afterSockets: (callback: () => void) => void callbacks.push(callback)
      },
      callbacks,
      take: (each: number) => {
        millis = each
      },
      next: () => {
        for (const callback of callbacks.splice(0)) callback()
      }
    }
  }
  const rounds = (sends: ReturnType<typeof makeSends>, { eventLoop } = loop()) =>
    sends.on(Rounds.make({ ...sends.options, forced: false, eventLoop }).run)
  const endAll = (sends: ReturnType<typeof makeSends>) =>
    Effect.forEach(sends.sends, ({ end }) => Deferred.succeed(end, undefined))

  it.effect("the operations of one fiber run alone and at once", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = rounds(sends)
      assert.deepStrictEqual(yield* Effect.all([run("a"), run("b"), run("c")]), ["a alone", "b alone", "c alone"])
    }))

  it.effect("the operations of several fibers are sent together, until a fiber is alone again", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = rounds(sends)
      const fibers = yield* Effect.forEach(["a", "b", "c"], (item) => Effect.fork(run(item)))
      yield* settle
      assert.deepStrictEqual(sends.alone, ["a"])
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b", "c"]])
      yield* endAll(sends)
      assert.deepStrictEqual(yield* Fiber.join(Fiber.all(fibers)), ["a alone", "b in a group", "c in a group"])
      // the first one after a group of several may be one of many
      const alone = yield* Effect.fork(Effect.all([run("d"), run("e")]))
      yield* settle
      yield* endAll(sends)
      assert.deepStrictEqual(yield* Fiber.join(alone), ["d in a group", "e alone"])
    }))

  it.effect("an operation that arrives during a send waits for the next group, and each is run alone if a group dies", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = rounds(sends)
      const fibers = yield* Effect.forEach(["a", "b"], (item) => Effect.fork(run(item)))
      yield* settle
      const late = yield* Effect.forEach(["c", "none", "d"], (item) => Effect.fork(run(item)))
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b"]])
      yield* Deferred.die(sends.sends[0].end, "a mistake")
      assert.deepStrictEqual(yield* Fiber.join(Fiber.all(fibers)), ["a alone", "b alone"])
      yield* settle
      yield* Fiber.interrupt(late[0])
      yield* endAll(sends)
      assert.strictEqual(yield* Fiber.join(late[1]), "none alone")
      assert.strictEqual(yield* Fiber.join(late[2]), "d in a group")
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b"], ["c", "none", "d"]])
    }))

  it.effect("an operation that is slow to join a group is not forgotten", () =>
    Effect.gen(function*() {
      for (let steps = 1; steps < 60; steps++) {
        const sends = makeSends()
        const run = rounds(sends)
        const { goOn, scheduler } = stoppingAt(steps)
        const fibers = yield* Effect.forEach(
          ["a", "b"],
          (item) => Effect.forkDaemon(Effect.withScheduler(run(item), scheduler))
        )
        yield* settle
        for (let n = 0; n < 5; n++) {
          goOn()
          yield* settle
          yield* endAll(sends)
        }
        yield* settle
        assert.isTrue((yield* Effect.forEach(fibers, Fiber.poll)).every(Option.isSome), `${steps} steps`)
      }
    }))

  it.effect("the next group is sent after one for which no fiber waits any more", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = rounds(sends)
      const [, b, c] = yield* Effect.forEach(["a", "b", "c"], (item) => Effect.fork(run(item)))
      yield* settle
      const d = yield* Effect.fork(run("d"))
      yield* settle
      yield* Fiber.interrupt(b)
      assert.strictEqual(sends.interrupted, 0)
      yield* Fiber.interrupt(c)
      assert.strictEqual(sends.interrupted, 1)
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b", "c"], ["d"]])
      yield* endAll(sends)
      assert.strictEqual(yield* Fiber.join(d), "d in a group")
    }))

  it.effect("no fiber waits for the scheduler of another", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const run = rounds(sends)
      const stopped = new Scheduler.ControlledScheduler()
      yield* Effect.fork(run("a"))
      yield* Effect.forkDaemon(Effect.withScheduler(run("b"), stopped))
      yield* settle
      assert.strictEqual(yield* run("c"), "c alone")
      assert.strictEqual(Effect.runSync(run("d")), "d alone")
    }))

  /** Lets a turn of the event loop go by. */
  const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

  it.effect("after a slow one, operations of separate turns wait for the sockets that are ready, and share a group", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const sockets = loop()
      const run = rounds(sends, sockets)
      sockets.take(2)
      assert.strictEqual(yield* run("a"), "a alone")
      const fibers: Array<Fiber.Fiber<Answer, string>> = []
      for (const item of ["b", "c", "d"]) {
        yield* turn
        fibers.push(yield* Effect.fork(run(item)))
        yield* settle
      }
      assert.lengthOf(sends.sends, 0)
      assert.lengthOf(sockets.callbacks, 1)
      sockets.next()
      yield* settle
      assert.deepStrictEqual(sends.sends.map(({ items }) => items), [["b", "c", "d"]])
      sockets.take(0)
      yield* endAll(sends)
      assert.deepStrictEqual(yield* Fiber.join(Fiber.all(fibers)), ["b", "c", "d"].map((item) => `${item} in a group`))
      // that was quick
      yield* turn
      assert.strictEqual(yield* run("e"), "e alone")
      assert.lengthOf(sockets.callbacks, 0)
    }))

  it.effect("a single writer hardly waits for the sockets, however slow its operations are", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const sockets = loop()
      const run = rounds(sends, sockets)
      sockets.take(2)
      let waited = 0
      const once = Effect.gen(function*() {
        yield* turn
        const fiber = yield* Effect.fork(run("a"))
        yield* settle
        waited += sockets.callbacks.length
        sockets.next()
        yield* settle
        yield* endAll(sends)
        yield* Fiber.join(fiber)
      })
      yield* Effect.repeatN(once, 299)
      assert.isAbove(waited, 3)
      assert.isBelow(waited, 12)
      // it does not wait for itself when others come again
      const before = sends.sends.length
      for (let n = 0; n < 300 && sends.sends.length === before; n++) {
        yield* turn
        const fibers = yield* Effect.forEach(["b", "c"], (item) => Effect.fork(run(item)))
        yield* settle
        sockets.next()
        yield* settle
        yield* endAll(sends)
        yield* Fiber.join(Fiber.all(fibers))
      }
      assert.isAbove(sends.sends.length, before)
    }))

  it.effect("an interrupted operation that waits for the sockets is not sent", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const sockets = loop()
      const run = rounds(sends, sockets)
      sockets.take(2)
      yield* run("a")
      yield* turn
      const b = yield* Effect.fork(run("b"))
      yield* settle
      yield* Fiber.interrupt(b)
      sockets.take(0)
      sockets.next()
      yield* settle
      assert.lengthOf(sends.sends, 0)
      yield* turn
      assert.strictEqual(yield* run("c"), "c alone")
    }))

  it.effect("no fiber of a scheduler that ends waits for the sockets", () =>
    Effect.gen(function*() {
      const sends = makeSends()
      const sockets = loop()
      const run = rounds(sends, sockets)
      sockets.take(2)
      yield* run("a")
      yield* turn
      assert.strictEqual(Effect.runSync(run("b")), "b alone")
      assert.lengthOf(sockets.callbacks, 0)
    }))
})
