// Derives the id of an event from texts that name it, so that a repetition gives the same id.
// Mechanism: the SHA-256 of the texts, formatted as a UUID of version 8, whose layout RFC 9562 leaves to the application.
// Cost: some microseconds, and more for long texts.
import { byteLength } from "../text.js"
import { sha256 } from "./sha256.js"

/**
 * Gives the id that belongs to these texts, in all releases the same. With a time, which is 12 hexadecimal digits, the id
 * begins with it: such ids grow with time, which keeps their unique index compact.
 */
export const of = (texts: ReadonlyArray<string>, time: string | undefined): string => {
  const hash = sha256(texts.map(netstring).join(""))
  const front = time ?? hash
  const variant = "89ab"[parseInt(hash[16], 16) % 4]
  return `${front.slice(0, 8)}-${front.slice(8, 12)}-8${hash.slice(13, 16)}-${variant}${hash.slice(17, 20)}-` +
    hash.slice(20, 32)
}

const uuidV8 = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Tells whether an event id may be derived. Those of `Event.IdGenerator` are not. */
export const isDerived = (eventId: string): boolean => uuidV8.test(eventId)

/**
 * The text that names an event also after a restore. If a derived event was lost, the command may be sent again and be
 * stored on another history, under the same id and at the same version, but at another time.
 */
export const proof = (eventId: string, time: number): string => isDerived(eventId) ? `${eventId}@${time}` : eventId

// with its length in front, no text can be mistaken for the end of the one before it
const netstring = (text: string): string => `${byteLength(text)}:${text},`
