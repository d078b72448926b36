// Waits until version 2 of the catalogue has caught up, shows how far it is, and makes it the version that is read.
import { SingleBar } from "cli-progress"
import { Console, Duration, Effect, Option, Schedule } from "effect"
import { Projections } from "effect-eventsourcing"

/** Shows how far version 2 is on its way through the events of the shop, those of other aggregates included. */
const show = (bar: SingleBar) =>
  Effect.gen(function*() {
    const versions = yield* Projections.status("catalogue")
    const next = versions.find(({ version }) => version === 2)
    if (next === undefined) return
    const { millisLeft, rate, remaining } = next.progress
    bar.setTotal(Math.max(bar.getTotal(), remaining))
    bar.update(bar.getTotal() - remaining, {
      rate: Option.match(rate, { onNone: () => "-", onSome: (rate) => Math.round(rate) }),
      left: Option.match(millisLeft, { onNone: () => "-", onSome: (millis) => Duration.format(Math.round(millis)) })
    })
  })

export const rebuild = Effect.gen(function*() {
  const bar = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const bar = new SingleBar({
        format: "Catalogue {bar} {value} of {total} events, {rate} a second, {left} left",
        noTTYOutput: true
      })
      bar.start(1, 0, { rate: "-", left: "-" })
      return bar
    }),
    (bar) => Effect.sync(() => bar.stop())
  )
  yield* Effect.raceFirst(
    Projections.promote({ name: "catalogue", version: 2 }, { timeout: "1 hour" }),
    Effect.repeat(show(bar), Schedule.spaced("200 millis"))
  )
  yield* show(bar)
}).pipe(Effect.scoped, Effect.zipRight(Console.log("Version 2 of the catalogue is active")))
