import * as Clock from "effect/Clock"
import * as Context from "effect/Context"

/**
 * The clock of the waits between the tries of a command that lost a race. It is real time, also where a test has stopped
 * the `Clock`: the writers that won the race append in real time. A simulation of all writers gives its own clock.
 */
export class RetryClock extends Context.Reference<RetryClock>()("effect-eventsourcing/internal/RetryClock", {
  defaultValue: (): Clock.Clock => Clock.make()
}) {}
