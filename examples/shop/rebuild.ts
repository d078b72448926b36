// Waits until version 2 of the catalogue has caught up, shows how far it is, and makes it the version that is read.
import { SingleBar } from "cli-progress"
import { Console, Effect, Schedule } from "effect"
import { Projections } from "effect-eventsourcing"

const handledBy = ({ partitions }: Projections.Status) => partitions.reduce((sum, { handled }) => sum + handled, 0)

const show = (bar: SingleBar) =>
  Effect.gen(function*() {
    const versions = yield* Projections.status("catalogue")
    const handled = versions.map(handledBy)
    bar.setTotal(Math.max(...handled))
    bar.update(handled[versions.findIndex(({ version }) => version === 2)] ?? 0)
  })

export const rebuild = Effect.gen(function*() {
  const bar = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const bar = new SingleBar({
        format: "Catalogue {bar} {value} of {total} events, {eta_formatted} left",
        noTTYOutput: true
      })
      bar.start(1, 0)
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
