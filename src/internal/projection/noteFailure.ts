import type { Site } from "./worker.js"

/** Counts a failure and keeps it for the status of this process. */
export const noteFailure = (
  { meter, report }: Pick<Site, "meter" | "report">,
  kind: "Passing" | "Poison" | "Inline",
  reason: string,
  time: number
): void => {
  meter.failed(kind)
  report.lastError = { reason, time }
}

/** How long to wait before a failure that passes is tried for the next time, in milliseconds. */
export const backOffMillis = (failures: number): number => Math.min(10 * 2 ** Math.min(failures, 12), 5_000)
