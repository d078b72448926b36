// The options that commands share.
import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as StreamId from "../../StreamId.js"
import { streamProblem } from "../streamProblem.js"
import type { Url } from "./client.js"
import { CliError } from "./errors.js"
import * as Output from "./output.js"

const given = (from: string) => (url: Redacted.Redacted): Url => ({ url, from })

const url = Options.redacted("url").pipe(
  Options.withPseudoName("URL"),
  Options.withDescription(
    "The database: postgres://user:password@host/database, or the path of a SQLite file. Default: DATABASE_URL"
  ),
  Options.map(given("--url")),
  Options.withFallbackConfig(Config.map(Config.redacted("DATABASE_URL"), given("DATABASE_URL")))
)

const prefix = Options.text("prefix").pipe(
  Options.withDescription(
    "The beginning of the names of the tables, as in SqlStores.layerWith. Default: eventsourcing"
  ),
  Options.withDefault("eventsourcing")
)

const json = Options.boolean("json").pipe(Options.withDescription("Prints one JSON value a line"))

/** What every command takes. */
export const shared = { url, prefix, json } as const

/** Fails if an option that the command does not have was taken as its argument. */
export const noOption = (text: string): Effect.Effect<string, HelpDoc.HelpDoc> =>
  text.startsWith("--")
    ? Effect.fail(HelpDoc.p(`unknown option ${Output.cell(text)}`))
    : Effect.succeed(text)

/** An argument of a command. */
export const argument = (name: string): Args.Args<string> => Args.text({ name }).pipe(Args.mapEffect(noOption))

export const stream = argument("STREAM").pipe(
  Args.withDescription("The name of the aggregate and the id, with a slash between: Account/a-1")
)

export const limit = (most: number, what = "How many to print") =>
  Options.integer("limit").pipe(Options.withDescription(`${what}. Default: ${most}`), Options.withDefault(most))

/** Refuses a limit that prints nothing. */
export const checkLimit = (limit: number): Effect.Effect<void, CliError> =>
  limit < 1 ? new CliError({ detail: `--limit is ${limit}; it must be a whole number, 1 or more` }) : Effect.void

export const from = Options.text("after").pipe(
  Options.withDescription("The position to begin after. Default: the start of the feed"),
  Options.withDefault("start")
)

export const aggregates = Options.text("aggregate").pipe(
  Options.withDescription("Only those of this aggregate. May be given several times"),
  Options.repeated
)

export const types = Options.text("type").pipe(
  Options.withDescription("Only events of this stored type. May be given several times"),
  Options.repeated
)

/** Where the key store of personal data is. */
export const keys = {
  keys: Options.redacted("keys").pipe(
    Options.withPseudoName("URL"),
    Options.withDescription("The database of the key store for personal data, if it is not the one at --url"),
    Options.map(given("--keys")),
    Options.optional
  ),
  keysPrefix: Options.text("keys-prefix").pipe(
    Options.withDescription("The beginning of the name of its table. Default: --prefix"),
    Options.optional
  )
} as const

export const module = Options.text("module").pipe(
  Options.withDescription("A JavaScript module of yours that exports the aggregates: ./dist/aggregates.js")
)

export const handlers = Options.text("module").pipe(
  Options.withDescription(
    "A JavaScript module of yours that exports the projection or subscription, and as layer the services of its handler"
  )
)

/** Who changes a stream, and why. They are stored as metadata of the marker. */
export const audit = {
  by: Options.text("by").pipe(Options.withDescription("Who does it, for the metadata"), Options.optional),
  reason: Options.text("reason").pipe(Options.withDescription("Why, for the metadata"), Options.optional)
} as const

export const metadataOf = ({ by, reason }: {
  readonly by: Option.Option<string>
  readonly reason: Option.Option<string>
}): Readonly<Record<string, string>> => ({
  ...Option.match(by, { onNone: () => ({}), onSome: (by) => ({ by }) }),
  ...Option.match(reason, { onNone: () => ({}), onSome: (reason) => ({ reason }) })
})

/** A list that filters, or nothing if it is empty. */
export const filter = (texts: ReadonlyArray<string>): ReadonlyArray<string> | undefined =>
  texts.length === 0 ? undefined : texts

/** The stream that an argument or an option names. */
export const streamOf = (text: string, name = "STREAM"): Effect.Effect<StreamId.StreamId, CliError> => {
  const slash = text.indexOf("/")
  if (slash < 0) {
    return new CliError({ detail: `${name} is the name of the aggregate and the id with a slash between: Account/a-1` })
  }
  const stream = { aggregate: text.slice(0, slash), id: text.slice(slash + 1) }
  const problem = streamProblem(stream)
  return problem === undefined ? Effect.succeed(stream) : new CliError({ detail: `${name}: ${problem}` })
}

export const streamText = ({ aggregate, id }: StreamId.StreamId): string => `${aggregate}/${id}`
