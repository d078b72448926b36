// Remembers how far the subscriptions were behind.
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { CheckpointStore } from "../../../CheckpointStore.js"
import type { EventStore } from "../../../EventStore.js"
import * as Projections from "../../../Projections.js"

export interface Look {
  readonly time: number
  readonly remaining: number
}

/** The looks at each version of a subscription, the oldest first. */
export type History = ReadonlyMap<string, ReadonlyArray<Look>>

/** Ten minutes. */
const mostLooks = 300

export const keyOf = ({ name, version }: { readonly name: string; readonly version: number }): string =>
  `${name}\u0000${version}`

/** Looks every two seconds until the scope closes. A look that fails is left out. */
export const watch: Effect.Effect<History, never, CheckpointStore | EventStore | Scope.Scope> = Effect.gen(function*() {
  const history = new Map<string, ReadonlyArray<Look>>()
  const look = Effect.map(Projections.status(), (all) => {
    const time = Date.now()
    for (const status of all) {
      const key = keyOf(status)
      history.set(key, [...history.get(key) ?? [], { time, remaining: status.progress.remaining }].slice(-mostLooks))
    }
  })
  yield* Effect.forkScoped(Effect.repeat(Effect.ignore(look), Schedule.spaced("2 seconds")))
  return history
})
