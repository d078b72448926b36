// The log lines of retention.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Counters from "../counters.js"
import { reason } from "../schema/reason.js"
import type { Policy, Report } from "./model.js"

/** Logs what a policy has removed in a pass. */
export const removed = (policy: Policy, count: number): Effect.Effect<void> =>
  Effect.logWithLevel(LogLevel.Info, `retention removed old data: ${count} rows`).pipe(
    Effect.annotateLogs({ policy })
  )

/** Logs and counts that a policy has failed in a pass. */
export const failed = (policy: Policy, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    Counters.byPolicy(Counters.retentionFailures, policy)(1)
    return Effect.logWithLevel(
      LogLevel.Warning,
      `retention did not finish; the next pass continues: ${reason(Cause.squash(cause))}`
    ).pipe(Effect.annotateLogs({ policy }))
  })

/** Logs that deleted streams stay, because a subscription has not passed them. */
export const heldBack = (names: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.logWithLevel(
    LogLevel.Warning,
    `retention keeps deleted streams that projections or subscriptions have not passed: ${names.join(", ")}`
  )

/** Logs that streams keep archives that are old enough to go. */
export const kept = (counts: NonNullable<Report["archives"]>["kept"]): Effect.Effect<void> =>
  Effect.logWithLevel(
    LogLevel.Warning,
    `retention keeps archives of streams without a snapshot that was verified: ${
      Object.entries(counts).map(([reason, count]) => `${count} ${reason}`).join(", ")
    }`
  )
