// Derives the ids of a command's events from its command id, so that the store itself refuses a command that counted.
// Mechanism: an event id is the SHA-256 of stream, command id and index, as a UUID of version 8. If the command id is a
// version 7 UUID or a ULID, its time stays in front: event ids then grow with time, which keeps their index compact.
// Cost: one hash an event in JavaScript, some microseconds. Why: docs/decisions/0091-command-ids.md.
import type * as StreamId from "../../StreamId.js"
import { sha256 } from "../schema/sha256.js"
import { byteLength, keyProblem } from "../text.js"
import { maxCommandIdBytes } from "./errors.js"

/** Says why a value is not a command id. `undefined` if it is one. */
export const problem = (commandId: unknown): string | undefined => keyProblem(commandId, maxCommandIdBytes)

/** Gives the ids of the events of a command by their index, from 0 on. All releases must derive the same ids. */
export const eventIds = (stream: StreamId.StreamId, commandId: string): (index: number) => string => {
  const key = [stream.aggregate, stream.id, commandId].map(netstring).join("")
  const time = timeOf(commandId)
  return (index) => uuid(sha256(key + netstring(String(index))), time)
}

// with its length in front, no text can be mistaken for the end of the one before it
const netstring = (text: string): string => `${byteLength(text)}:${text},`

/** Formats the hash as a UUID of version 8, behind a time of 12 hexadecimal digits if there is one. */
const uuid = (hash: string, time = hash): string => {
  const variant = "89ab"[parseInt(hash[16], 16) % 4]
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-8${hash.slice(13, 16)}-${variant}${hash.slice(17, 20)}-` +
    hash.slice(20, 32)
}

const uuidV8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Tells whether an event id may be derived. Those of `Event.IdGenerator` are not. */
export const isDerived = (eventId: string): boolean => uuidV8.test(eventId)

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
