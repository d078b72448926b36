import { Chunk, Clock, Duration, Effect, type Exit, Fiber, Random, Scheduler, TestClock, TestContext } from "effect"
import { globalValue } from "effect/GlobalValue"
import { PCGRandom } from "effect/Utils"
import { RetryClock } from "../../src/internal/repository/commands.js"
import { EventLoop } from "../../src/internal/sql/eventLoop.js"

/** Whole numbers from a seed. */
export class Dice {
  private readonly random: PCGRandom
  constructor(seed: number) {
    this.random = new PCGRandom(seed)
  }
  /** From 0 up to `below`, without it. */
  number(below: number): number {
    return Math.floor(this.random.number() * below)
  }
  between(least: number, most: number): number {
    return least + this.number(most - least + 1)
  }
  chance(probability: number): boolean {
    return this.random.number() < probability
  }
  oneOf<A>(values: ReadonlyArray<A>): A {
    return values[this.number(values.length)]
  }
  /** The seed of another one, independent of what is drawn here later. */
  seed(): number {
    return this.number(2 ** 31)
  }
}

/** A clock that stands still until every fiber waits, and then goes on to the next moment that one waits for. */
class VirtualClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  readonly sleeping: Array<{ readonly at: number; readonly wake: () => void }> = []
  now = 0

  unsafeCurrentTimeMillis(): number {
    return this.now
  }
  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.trunc(this.now)) * 1_000_000n
  }
  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      const sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      // nobody waits for ever to be woken
      if (Number.isFinite(sleeper.at)) this.sleeping.push(sleeper)
      return Effect.sync(() => {
        const index = this.sleeping.indexOf(sleeper)
        if (index >= 0) this.sleeping.splice(index, 1)
      })
    })
  }

  /** Sets the clock forwards or backwards. Who sleeps sleeps until the same time as before. */
  jump(by: number): void {
    this.now += by
  }

  /** Wakes the sleeper that is next, and gives whether there was one. */
  advance(): boolean {
    let next = 0
    for (let i = 1; i < this.sleeping.length; i++) if (this.sleeping[i].at < this.sleeping[next].at) next = i
    if (this.sleeping.length === 0) return false
    const [sleeper] = this.sleeping.splice(next, 1)
    this.now = Math.max(this.now, sleeper.at)
    sleeper.wake()
    return true
  }
}

/** Never ends, like `Effect.never`, but without a timer that would keep the whole world of a run in memory. */
export const forever: Effect.Effect<never> = Effect.async<never>(() => {})

/** The fibers without a parent that have not ended: Effect keeps them for its `Fiber.roots`. */
const { roots } = globalValue(Symbol.for("effect/FiberScope/Global"), () => ({ roots: new Set<unknown>() }))

/** Runs a simulation, and forgets the fibers that it left behind: those of a killed process wait for ever. */
const forgetting = <A>(simulation: () => A): A => {
  const before = new Set(roots)
  try {
    return simulation()
  } finally {
    for (const fiber of roots) if (!before.has(fiber)) roots.delete(fiber)
  }
}

export type Outcome<A> =
  | { readonly _tag: "Done"; readonly exit: Exit.Exit<A, never> }
  /** Every fiber waits, and no time that passes will wake one. */
  | { readonly _tag: "Deadlock" }

/**
 * Runs a program to its end without waiting for anything real: virtual time, random numbers from the seed, and which of
 * the fibers that can go on goes on next is drawn from the seed too. The same seed gives the same run.
 */
export const run = <A>(
  seed: number,
  program: (world: { readonly jump: (by: number) => Effect.Effect<void> }) => Effect.Effect<A>
): Outcome<A> => forgetting(() => simulated(seed, program))

const simulated: typeof run = (seed, program) => {
  const dice = new Dice(seed)
  const clock = new VirtualClock()
  const tasks: Array<() => void> = []
  const scheduler = Scheduler.make((task) => {
    tasks.push(task)
  })
  const fiber = Effect.runFork(
    program({ jump: (by) => Effect.sync(() => clock.jump(by)) }).pipe(
      Effect.withClock(clock),
      Effect.provideService(RetryClock, clock),
      Effect.provideService(EventLoop, {
        isOverdue: () => false,
        afterwards: (callback) => callback(),
        now: () => 0,
        afterSockets: (callback) => callback()
      }),
      Effect.withRandom(Random.make(dice.seed()))
    ),
    { scheduler }
  )
  while (true) {
    while (tasks.length > 0) {
      const [task] = tasks.splice(dice.number(tasks.length), 1)
      task()
    }
    const exit = fiber.unsafePoll()
    if (exit !== null) return { _tag: "Done", exit }
    if (!clock.advance()) {
      Effect.runFork(Fiber.interruptFork(fiber))
      return { _tag: "Deadlock" }
    }
  }
}

/** The same under Effect's own `TestClock`, which waits for real moments, and with its scheduler. */
export const runUnderTestClock = <A>(
  seed: number,
  program: (world: { readonly jump: (by: number) => Effect.Effect<void> }) => Effect.Effect<A>
): Promise<Outcome<A>> =>
  Effect.gen(function*() {
    const dice = new Dice(seed)
    const jump = (by: number) => Effect.flatMap(Clock.currentTimeMillis, (now) => TestClock.setTime(now + by))
    const fiber = yield* program({ jump }).pipe(
      Effect.withRandom(Random.make(dice.seed())),
      Effect.provideServiceEffect(RetryClock, Effect.clock),
      Effect.fork
    )
    for (let idle = 0; idle < 100;) {
      const exit = fiber.unsafePoll()
      if (exit !== null) return { _tag: "Done", exit } as const
      const sleeping = Chunk.toReadonlyArray(yield* TestClock.sleeps())
      const now = yield* Clock.currentTimeMillis
      idle = sleeping.length === 0 ? idle + 1 : 0
      yield* TestClock.setTime(Math.max(now, sleeping.length === 0 ? now : Math.min(...sleeping)))
    }
    yield* Fiber.interruptFork(fiber)
    return { _tag: "Deadlock" } as const
  }).pipe(Effect.provide(TestContext.TestContext), Effect.runPromise)
