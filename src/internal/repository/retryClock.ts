import * as Clock from "effect/Clock"
import * as Context from "effect/Context"

/**
 * The clock of the waits between the tries of a command that lost races. It is real time, also where a test has stopped
 * the clock: those who won the races append in theirs. What simulates everybody gives its own.
 *
 * @internal
 */
export class RetryClock extends Context.Reference<RetryClock>()("effect-eventsourcing/internal/RetryClock", {
  defaultValue: (): Clock.Clock => Clock.make()
}) {}
