import * as Schema from "effect/Schema"
import { InvalidOption } from "../../InvalidOption.js"
import { maxAggregateBytes } from "../../StreamId.js"
import type * as Versions from "../../Versions.js"
import { maxVersion } from "../constants.js"
import { nodeVersion, platformProblem } from "../platform.js"
import { keyProblem, quote } from "../text.js"
import { notJson } from "./jsonSafety.js"
import { holdsSecret } from "./secrets.js"

/** Throws `InvalidOption` for a definition that cannot work. The codec of the events checks the events and upcasts. */
export const checkDefinition = (
  // not spread: the functions may be methods of a class
  definition: {
    readonly name: string
    readonly id: Schema.Schema.All
    readonly state: Schema.Schema.All
    readonly migrations?: Versions.Any | undefined
    readonly initial: unknown
    readonly rejection?: unknown
  },
  schemaVersion: number,
  fingerprint: string
): void => {
  const { migrations } = definition
  const name = quote(definition.name)
  const refuse = (option: string, value: string, expected: string) => {
    throw new InvalidOption({ option: `Aggregate.make ${option}`, value, expected })
  }
  const tooOld = platformProblem(nodeVersion())
  if (tooOld !== undefined) throw tooOld
  const nameProblem = keyProblem(definition.name, maxAggregateBytes)
  if (nameProblem !== undefined) {
    const expected = `a string of 1 to ${maxAggregateBytes} bytes without NUL and lone surrogates`
    refuse("name", name, `${expected}; this one ${nameProblem}`)
  }
  // without this check a program in JavaScript would fail at its first command
  if (typeof definition.initial !== "function") refuse(`initial of ${name}`, quote(definition.initial), "a function")
  if (definition.rejection !== undefined && !Schema.isSchema(definition.rejection)) {
    refuse(`rejection of ${name}`, quote(definition.rejection), "a schema")
  }
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1 || schemaVersion > maxVersion) {
    refuse(`schemaVersion of ${name}`, String(schemaVersion), `a whole number from 1 to ${maxVersion}`)
  }
  if (holdsSecret(definition.id.ast)) {
    const expected = "one that does not: errors, log lines and spans name a stream by its id"
    refuse(`id of ${name}`, "a schema that redacts its value", expected)
  }
  const foreign = notJson(definition.state.ast)
  if (foreign !== undefined) {
    const expected = "a schema that encodes to JSON, such as Schema.BigInt, Schema.Date or Schema.Option"
    refuse(`state of ${name}`, `a schema that, at ${foreign.path}, ${foreign.reason}`, expected)
  }
  if (migrations !== undefined && (migrations.last !== schemaVersion || migrations.fingerprint !== fingerprint)) {
    const value = migrations.last === schemaVersion
      ? "a chain whose last schema is not the state's"
      : `a chain that ends at version ${migrations.last}`
    const expected = `a chain that ends at version ${schemaVersion}, the schemaVersion, with the state's own schema`
    refuse(`migrations of ${name}`, value, expected)
  }
}
