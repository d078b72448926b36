// The tenant of an event: the text under `tenant` in its metadata.
// Stores compare it as JSON text, so that no text is taken for another value, and no escape has to be read in SQL.
import * as Either from "effect/Either"
import type * as Event from "../../Event.js"
import * as Emptied from "../emptied.js"
import { isRecord } from "../options.js"
import * as Json from "../schema/json.js"
import { keyProblem } from "../text.js"

const maxBytes = 255

// a control character would be six characters of JSON, and the text could be longer than an index takes
const control = /[\u0000-\u001f\u007f]/

/** The problem of a name of a tenant that tenants in shared tables cannot have. */
export const problem = (tenant: unknown): string | undefined =>
  keyProblem(tenant, maxBytes) ?? (control.test(String(tenant)) ? "contains a control character" : undefined)

/** The JSON text of a tenant. */
export const keyOf = (tenant: string): string => JSON.stringify(tenant)

/** The most characters that the JSON text of a tenant can have. */
export const maxKeyLength = 2 * maxBytes + 2

/** The tenant in the metadata of a stored event. `undefined` if there is none, or if its metadata cannot be read. */
export const ofRecord = ({ metadata }: Event.EncodedRecord): unknown => {
  const parsed = Json.parse(metadata)
  return Either.isRight(parsed) && isRecord(parsed.right) ? parsed.right.tenant : undefined
}

/** Tells whether a stored event is one of a tenant. */
export const isOf = (tenant: string) => (record: Event.EncodedRecord): boolean => ofRecord(record) === tenant

/** The metadata of an event whose content was archived or removed: they keep its tenant. */
export const emptied = (record: Event.EncodedRecord): string => {
  const tenant = ofRecord(record)
  return typeof tenant === "string" && problem(tenant) === undefined ? JSON.stringify({ tenant }) : Emptied.metadata
}
