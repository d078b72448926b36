// Derives the ids of a command's events from its command id, so that the store itself refuses a command that counted.
// Mechanism: an event id is the SHA-256 of stream, command id and index, as a UUID of version 8. If the command id is a
// version 7 UUID or a ULID, its time stays in front: event ids then grow with time, which keeps their index compact.
// Cost: one hash an event in JavaScript, some microseconds. Why: docs/decisions/0091-command-ids.md.
import type * as StreamId from "../../StreamId.js"
import * as DerivedId from "../schema/derivedId.js"
import { keyProblem } from "../text.js"
import { maxCommandIdBytes } from "./errors.js"

/** Says why a value is not a command id. `undefined` if it is one. */
export const problem = (commandId: unknown): string | undefined => keyProblem(commandId, maxCommandIdBytes)

/** Gives the ids of the events of a command by their index, from 0 on. All releases must derive the same ids. */
export const eventIds = (stream: StreamId.StreamId, commandId: string): (index: number) => string => {
  const time = timeOf(commandId)
  return (index) => DerivedId.of([stream.aggregate, stream.id, commandId, String(index)], time)
}

const uuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i

const ulid = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i

const ulidDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

/** The 48 bits of time in a version 7 UUID or a ULID, as 12 hexadecimal digits. */
const timeOf = (commandId: string): string | undefined => {
  if (uuidV7.test(commandId)) return `${commandId.slice(0, 8)}${commandId.slice(9, 13)}`.toLowerCase()
  if (!ulid.test(commandId)) return undefined
  let millis = 0
  for (const digit of commandId.slice(0, 10).toUpperCase()) millis = millis * 32 + ulidDigits.indexOf(digit)
  return millis.toString(16).padStart(12, "0")
}
