import { type Names, quoted } from "../names.js"

/** The base to which transaction ids are added: a dump may be restored into a cluster with lower ids. */
export const base = (names: Names): string => `coalesce((SELECT base FROM ${quoted(names.cluster)} WHERE id), 0)`

export interface Function {
  readonly name: string
  readonly parameters: ReadonlyArray<string>
  readonly returns: string
  readonly volatility: "STABLE" | "VOLATILE"
  /** Settings beside those of all functions. */
  readonly settings?: ReadonlyArray<string> | undefined
  readonly body: string
}

export const create = ({ body, name, parameters, returns, settings: own = [], volatility }: Function): string =>
  `CREATE OR REPLACE FUNCTION ${quoted(name)} (${parameters.join(", ")})
RETURNS ${returns} LANGUAGE plpgsql ${volatility}
${[...settings, ...own].map((setting) => `SET ${setting}`).join(" ")}
AS $body$
#variable_conflict use_column
${body}
$body$`

// one plan serves all streams, and must suit more rows than the table had when the server made the plan
const settings = [
  "plan_cache_mode = force_generic_plan",
  "enable_seqscan = off",
  "enable_bitmapscan = off",
  "jit = off"
]
