// Asks before something is changed. Without a terminal and without --yes nothing is changed.
import * as Options from "@effect/cli/Options"
import * as Prompt from "@effect/cli/Prompt"
import type { QuitException } from "@effect/platform/Terminal"
import * as Effect from "effect/Effect"
import * as Output from "./output.js"

export const options = {
  yes: Options.boolean("yes").pipe(Options.withDescription("Does it without asking. Without a terminal it is needed"))
} as const

/** Whether to do it. */
export const ask = (what: string, yes: boolean): Effect.Effect<boolean, QuitException, Prompt.Prompt.Environment> => {
  if (yes) return Effect.succeed(true)
  if (process.stdin.isTTY !== true) {
    return Effect.as(Output.hint(`Nothing was changed: give --yes to ${what}.`), false)
  }
  return Prompt.run(Prompt.confirm({ message: `${what}?`, initial: false }))
}
