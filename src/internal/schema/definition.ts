import type * as Schema from "effect/Schema"
import { InvalidOption } from "../../InvalidOption.js"
import { maxAggregateBytes } from "../../StreamId.js"
import type * as Versions from "../../Versions.js"
import { maxVersion } from "../constants.js"
import { nodeVersion, platformProblem } from "../platform.js"
import { keyProblem, quote } from "../text.js"
import { notJson } from "./jsonSafety.js"
import { holdsSecret } from "./secrets.js"

/**
 * Throws `InvalidOption` for a definition of an aggregate that cannot work. The events are checked with their codec.
 */
export const checkDefinition = (definition: {
  readonly name: string
  readonly id: Schema.Schema.All
  readonly state: Schema.Schema.All
  readonly schemaVersion: number
  readonly fingerprint: string
  readonly migrations?: Versions.Any | undefined
  readonly initial: unknown
  readonly evolve: unknown
  readonly decide: unknown
}): void => {
  const { migrations, schemaVersion } = definition
  const tooOld = platformProblem(nodeVersion())
  if (tooOld !== undefined) throw tooOld
  const nameProblem = keyProblem(definition.name, maxAggregateBytes)
  if (nameProblem !== undefined) {
    throw new InvalidOption({
      option: "Aggregate.make name",
      value: quote(definition.name),
      expected: `a string of 1 to ${maxAggregateBytes} bytes without NUL and lone surrogates; this one ${nameProblem}`
    })
  }
  // without this check a program in JavaScript would fail at its first event
  for (const part of ["initial", "evolve", "decide"] as const) {
    if (typeof definition[part] !== "function") {
      throw new InvalidOption({
        option: `Aggregate.make ${part} of ${quote(definition.name)}`,
        value: quote(definition[part]),
        expected: "a function"
      })
    }
  }
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1 || schemaVersion > maxVersion) {
    throw new InvalidOption({
      option: `Aggregate.make schemaVersion of ${quote(definition.name)}`,
      value: String(schemaVersion),
      expected: `a whole number from 1 to ${maxVersion}`
    })
  }
  if (holdsSecret(definition.id.ast)) {
    throw new InvalidOption({
      option: `Aggregate.make id of ${quote(definition.name)}`,
      value: "a schema that redacts its value",
      expected: "one that does not: errors, log lines and spans name a stream by its id"
    })
  }
  const foreign = notJson(definition.state.ast)
  if (foreign !== undefined) {
    throw new InvalidOption({
      option: `Aggregate.make state of ${quote(definition.name)}`,
      value: `a schema that, at ${foreign.path}, ${foreign.reason}`,
      expected: "a schema that encodes to JSON, such as Schema.BigInt, Schema.Date or Schema.Option"
    })
  }
  if (
    migrations !== undefined && (migrations.last !== schemaVersion || migrations.fingerprint !== definition.fingerprint)
  ) {
    throw new InvalidOption({
      option: `Aggregate.make migrations of ${quote(definition.name)}`,
      value: migrations.last === schemaVersion
        ? "a chain whose last schema is not the state's"
        : `a chain that ends at version ${migrations.last}`,
      expected: `a chain that ends at version ${schemaVersion}, the schemaVersion, with the state's own schema`
    })
  }
}
