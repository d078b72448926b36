// A line on the terminal that counts. Where there is no terminal it prints nothing.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

export interface Progress {
  readonly tick: Effect.Effect<void>
  readonly end: Effect.Effect<void>
}

/** Counts things, and shows the number ten times a second. */
export const make = (label: string, total?: number): Effect.Effect<Progress> =>
  Effect.sync(() => {
    const isShown = process.stderr.isTTY === true
    let count = 0
    let shown = 0
    const show = () => {
      const part = total === undefined ? "" : ` of ${total} (${Math.floor(100 * count / Math.max(1, total))} %)`
      process.stderr.write(`\r${count}${part} ${label}`)
    }
    return {
      tick: Effect.map(Clock.currentTimeMillis, (now) => {
        count++
        if (!isShown || now - shown < 100) return
        shown = now
        show()
      }),
      end: Effect.sync(() => {
        if (!isShown) return
        show()
        process.stderr.write("\n")
      })
    }
  })
