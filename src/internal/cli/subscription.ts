// Names a version of a projection or a subscription.
import * as CliArgs from "@effect/cli/Args"
import * as CliOptions from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Projections from "../../Projections.js"
import * as Options from "./options.js"

export const key = {
  name: Options.argument("NAME").pipe(CliArgs.withDescription("The name of a projection or a subscription")),
  version: CliOptions.integer("of-version").pipe(
    CliOptions.withDescription("The version of the projection. Default: the active one"),
    CliOptions.optional
  )
} as const

interface Key {
  readonly name: string
  readonly version: Option.Option<number>
}

export const keyOf = ({ name, version }: Key) =>
  Option.match(version, {
    onNone: () => Effect.map(Projections.activeVersion(name), (version) => ({ name, version })),
    onSome: (version) => Effect.succeed({ name, version })
  })
