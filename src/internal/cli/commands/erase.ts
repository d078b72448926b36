import * as CliArgs from "@effect/cli/Args"
import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import type { KeyStore } from "../../../KeyStore.js"
import * as Personal from "../../../Personal.js"
import { maxSubjectBytes } from "../../constants.js"
import { keyProblem } from "../../text.js"
import * as Client from "../client.js"
import * as Confirm from "../confirm.js"
import { CliError } from "../errors.js"
import * as Keys from "../keys.js"
import * as Options from "../options.js"
import * as Output from "../output.js"

export const erase = CliCommand.make(
  "erase",
  {
    ...Options.shared,
    ...Options.keys,
    subject: Options.argument("SUBJECT").pipe(
      CliArgs.withDescription("The id of the subject, as it is stored beside its data")
    ),
    module: Options.module.pipe(
      CliOptions.withDescription("A module that exports the layer of a KeyStore as keyStore"),
      CliOptions.optional
    ),
    ...Confirm.options
  },
  ({ json, subject, yes, ...options }) =>
    Effect.scoped(Effect.gen(function*() {
      const problem = keyProblem(subject, maxSubjectBytes)
      if (problem !== undefined) return yield* new CliError({ detail: `SUBJECT ${problem}` })
      const store = yield* Keys.store(options, true)
      const keys = yield* keysOf(store, subject)
      if (keys === "destroyed") {
        yield* Output.hint("The keys of this subject were destroyed before: there is nothing left to do.")
        return yield* Output.record(json, { subject, keys, erased: true })
      }
      if (keys === "none") yield* Output.hint("The key store has no keys of this subject: is its id right?")
      const isSure = yield* Confirm.ask(`destroy the keys of ${Output.cell(subject)}: this cannot be undone`, yes)
      if (isSure) {
        yield* Effect.provide(Personal.erase(subject), Keys.sealingOf(store))
        yield* Output.hint(after)
      }
      yield* Output.record(json, { subject, keys, erased: isSure })
    })).pipe(Effect.provide(Client.layer({ url: options.url, isWriting: true })))
).pipe(
  CliCommand.withDescription(
    "Erases the personal data of a subject: it destroys its keys, and the subject never gets new ones. All events " +
      "stay, and their personal data cannot be read any more. It may be repeated."
  )
)

const after =
  "Personal data of the subject cannot be read any more. Running processes keep keys for at most a second, " +
  "unless their timeToLive is longer. Read models that show the data keep it: rebuild them, or remove their rows. " +
  "Backups of the key store have the keys."

/** What the store had before. A key that only the program can unwrap need not be read to be destroyed. */
const keysOf = (store: KeyStore["Type"], subject: string) =>
  Effect.match(store.get([subject]), {
    onFailure: () => "unknown",
    onSuccess: ({ subjects }) => {
      const found = subjects.get(subject)
      return found === undefined ? "none" : found._tag === "Keys" ? "present" : "destroyed"
    }
  })
