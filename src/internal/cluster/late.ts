// Keeps a runner that was frozen from deciding commands that another runner has answered since.
// Mechanism: an attempt of a command has the time at which its client gives it up. After that time a runner decides
// nothing. It answers with its own time, so that a client whose clock is behind can allow for the difference.
// Cost: reading the clock once a request and once a decision. Why: docs/decisions/0150-attempts-that-come-too-late.md.
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

/** Says that the client has given up an attempt. */
export class Late {
  /** The time of the runner, in milliseconds. */
  constructor(readonly now: number) {}
  get message(): string {
    return `the attempt came too late, by the clock of its runner: ${new Date(this.now).toISOString()}`
  }
}

/** The time at which the client of a request gives it up. */
class Deadline extends Context.Reference<Deadline>()("effect-eventsourcing/internal/cluster/Deadline", {
  defaultValue: (): { readonly before: number; readonly clock: Clock.Clock } | undefined => undefined
}) {}

const lateness = (deadline: Deadline["Type"]): Late | undefined => {
  if (deadline === undefined) return undefined
  const now = deadline.clock.unsafeCurrentTimeMillis()
  return now < deadline.before ? undefined : new Late(now)
}

/** Tells a decision, which is not an effect, whether the request of its fiber is late. */
export const ofFiber = (): Late | undefined => {
  const fiber = Fiber.getCurrentFiber()
  return Option.isNone(fiber) ? undefined : lateness(Context.get(fiber.value.currentContext, Deadline))
}

/** Runs a request with its deadline, unless the request is late already. */
export const within = (before: number | undefined, request: Effect.Effect<string>): Effect.Effect<string> =>
  before === undefined ? request : Effect.clockWith((clock) => {
    const deadline = { before, clock }
    const late = lateness(deadline)
    return late === undefined
      ? Effect.provideService(request, Deadline, deadline)
      : Effect.succeed(encode(late))
  })

// --- answers ---

const prefix = "late:"

export const encode = ({ now }: Late): string => `${prefix}${now}`

export const is = (answer: string): boolean => answer.startsWith(prefix)

/** Fails if the answer says that the attempt was late. */
export const decode = <E, R>(answer: Effect.Effect<string, E, R>): Effect.Effect<string, E | Late, R> =>
  Effect.flatMap(
    answer,
    (text): Effect.Effect<string, Late> =>
      is(text) ? Effect.fail(new Late(Number(text.slice(prefix.length)))) : Effect.succeed(text)
  )
