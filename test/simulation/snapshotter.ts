import { Clock, Effect, Exit, Logger, LogLevel, Scope } from "effect"
import type { Report, Subject } from "./simulation.js"
import { Dice, forever, run } from "./virtual.js"

/**
 * The snapshotter alone, with saves of exactly the version that was offered: a repository's reads the stream again, so
 * that with it the wrong one of two requests does not show.
 */
export const simulateSnapshotter = ({ Snapshotter, StreamId }: Subject, seed: number): Report => {
  const dice = new Dice(seed)
  const trace: Array<string> = []
  const problems: Array<string> = []
  const wrong = (problem: string) => {
    trace.push(`WRONG ${problem}`)
    problems.push(problem)
  }
  const calm = dice.chance(0.5)
  const workers = dice.between(1, 3)
  const capacity = dice.between(1, 4)
  const offers: Array<{ readonly id: string; readonly version: number; done: boolean }> = []
  const saving = new Map<string, number>()
  // those of them that nothing ends
  let stuck = 0

  const save = (id: string, version: number, ending: string, delay: number) =>
    Effect.suspend(() => {
      trace.push(`save ${id} ${version}`)
      if (saving.has(id)) wrong(`two saves of ${id} at a time`)
      if (saving.size - stuck >= workers) wrong(`${saving.size + 1} saves at a time`)
      saving.set(id, version)
      const before = offers.filter((offer) => offer.id === id && offer.version <= version)
      return Effect.sleep(delay).pipe(
        Effect.zipRight(Effect.suspend((): Effect.Effect<void, string> => {
          switch (ending) {
            case "fail":
              return Effect.fail("planned")
            case "die":
              return Effect.die("planned")
            case "hang":
              return forever
            case "stuck":
              stuck++
              return Effect.uninterruptible(Effect.async<void>(() => {}))
            default:
              return Effect.sync(() => {
                for (const offer of before) offer.done = true
              })
          }
        })),
        Effect.ensuring(Effect.sync(() => saving.delete(id)))
      )
    })

  const program = Effect.gen(function*() {
    const scope = yield* Scope.make()
    const snapshotter = yield* Snapshotter.make("Ledger", {
      workers,
      capacity,
      timeout: "1 seconds",
      drainTimeout: "1 hours"
    })
      .pipe(Scope.extend(scope), Effect.orDie)
    const drawn = Array.from({ length: dice.between(5, 30) }, (_, n) => ({
      id: `s${dice.number(4)}`,
      version: n + 1 - dice.number(3),
      ending: calm ? "ok" : dice.oneOf(["ok", "ok", "fail", "die", "hang", "stuck"]),
      delay: dice.oneOf([0, 1, 20, 200]),
      pause: dice.oneOf([undefined, 0, 1, 50]),
      waits: dice.chance(0.1)
    }))
    const offering = Effect.forEach(drawn, ({ delay, ending, id, pause, version, waits }) =>
      Effect.gen(function*() {
        const taken = snapshotter.offer({
          stream: StreamId.make("Ledger", id),
          version,
          save: () => save(id, version, ending, delay)
        })
        trace.push(`offer ${id} ${version} ${taken}`)
        if (taken) offers.push({ id, version, done: false })
        const pending = yield* snapshotter.pending
        if (pending > capacity + workers) wrong(`${pending} are pending`)
        if (waits) yield* snapshotter.awaitPending
        if (pause !== undefined) yield* Effect.sleep(pause)
      }))
    yield* Effect.all([offering, offering], { concurrency: dice.between(1, 2), discard: true })
    const began = yield* Clock.currentTimeMillis
    yield* Scope.close(scope, Exit.void)
    const took = (yield* Clock.currentTimeMillis) - began
    // three tries of each, of at most twice the time limit, and what is waited between them
    if (took > 60_000) wrong(`it took ${took} ms to close`)
    if ((yield* snapshotter.pending) !== 0) wrong("something is still pending")
    if (snapshotter.offer({ stream: StreamId.make("Ledger", "s0"), version: 99, save: () => Effect.void })) {
      wrong("a closed one took an offer")
    }
    if (!calm) return
    for (const { done, id, version } of offers) if (!done) wrong(`${id} was not saved at ${version} or later`)
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None))

  const outcome = run(dice.seed(), () => program)
  if (outcome._tag === "Deadlock") wrong("everything waits, and nothing will happen")
  else if (Exit.isFailure(outcome.exit)) wrong(`the program died: ${String(outcome.exit.cause)}`)
  return { trace, problems, counts: {} }
}
