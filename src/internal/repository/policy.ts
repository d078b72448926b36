// Validates the snapshot policy of a repository, and answers the conditions that only the current load or command can
// answer.
import type { InvalidOption } from "../../InvalidOption.js"
import * as SnapshotPolicy from "../../SnapshotPolicy.js"
import {
  finiteDurationProblem,
  optionProblem,
  requiredCount,
  scheduleProblem,
  unless,
  wholeFromOne
} from "../options.js"

/** Finds an option in a policy that cannot work. `Repository.make` fails with it. */
export const problem = <State, Event>(
  policy: SnapshotPolicy.SnapshotPolicy<State, Event>
): InvalidOption | undefined => {
  switch (policy?._tag) {
    case "None":
    case "Manual":
      return undefined
    case "Sync":
    case "Inline":
      return whenProblem(policy.when)
    case "Background":
      return whenProblem(policy.when) ?? backgroundProblem(policy.options)
    default:
      // a program without types
      return optionProblem("SnapshotPolicy mode", Object(policy)._tag, "none, manual, sync, inline or background")
  }
}

export const backgroundProblem = (options: SnapshotPolicy.BackgroundOptions): InvalidOption | undefined =>
  wholeFromOne("SnapshotPolicy workers", options.workers) ??
    wholeFromOne("SnapshotPolicy capacity", options.capacity) ??
    finiteDurationProblem("SnapshotPolicy timeout", options.timeout) ??
    finiteDurationProblem("SnapshotPolicy drainTimeout", options.drainTimeout) ??
    scheduleProblem("SnapshotPolicy retry", options.retry)

/** Replaces conditions on this load or command by their answers: a worker that reads again knows neither. */
export const settle = <State, Event>(
  when: SnapshotPolicy.When<State, Event>,
  progress: SnapshotPolicy.Progress<State, Event>
): SnapshotPolicy.When => {
  switch (when._tag) {
    case "When":
    case "WhenReplayTook":
      return SnapshotPolicy.isDue(when, progress) ? SnapshotPolicy.not(SnapshotPolicy.never) : SnapshotPolicy.never
    case "Or": {
      const left = settle(when.left, progress)
      // as in isDue, the right side is not evaluated where the left one is due
      return SnapshotPolicy.isDue(when.left, progress) ? left : SnapshotPolicy.or(left, settle(when.right, progress))
    }
    case "And":
      return SnapshotPolicy.and(settle(when.left, progress), settle(when.right, progress))
    case "Not":
      return SnapshotPolicy.not(settle(when.when, progress))
    default:
      return when
  }
}

const whenProblem = <State, Event>(when: SnapshotPolicy.When<State, Event>): InvalidOption | undefined => {
  switch (when?._tag) {
    case "Every":
      return requiredCount("SnapshotPolicy every", when.events)
    case "WhenReplayed":
      return requiredCount("SnapshotPolicy whenReplayed", when.events)
    case "WhenReplayTook":
      return finiteDurationProblem("SnapshotPolicy whenReplayTook", when.duration)
    case "OlderThan":
      return finiteDurationProblem("SnapshotPolicy olderThan", when.duration)
    case "When":
      return unless(
        typeof when.predicate === "function",
        "SnapshotPolicy when",
        when.predicate,
        "a function of the state before, the state after and the events"
      )
    case "And":
    case "Or":
      return whenProblem(when.left) ?? whenProblem(when.right)
    case "Not":
      return whenProblem(when.when)
    case "Never":
      return undefined
    default:
      // a program without types
      return optionProblem(
        "SnapshotPolicy when",
        when,
        "a condition, such as SnapshotPolicy.every(100) or SnapshotPolicy.when(predicate)"
      )
  }
}
