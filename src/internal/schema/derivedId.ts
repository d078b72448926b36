// Derives the id of an event from texts that name it, so that a repetition gives the same id.
// Mechanism: the SHA-256 of the texts, formatted as a UUID. Cost: some microseconds.
import { byteLength } from "../text.js"
import { sha256 } from "./sha256.js"

/**
 * Gives the id that belongs to these texts, in all releases the same. With a time, which is 12 hexadecimal digits, it is a
 * UUID of version 7: such ids grow with time, which keeps their unique index compact. Otherwise it is one of version 8.
 */
export const of = (texts: ReadonlyArray<string>, time: string | undefined): string => {
  const hash = sha256(texts.map(netstring).join(""))
  const [front, version] = time === undefined ? [hash, "8"] : [time, "7"]
  const variant = "89ab"[parseInt(hash[16], 16) % 4]
  return `${front.slice(0, 8)}-${front.slice(8, 12)}-${version}${hash.slice(13, 16)}-${variant}${hash.slice(17, 20)}-` +
    hash.slice(20, 32)
}

// with its length in front, no text can be mistaken for the end of the one before it
const netstring = (text: string): string => `${byteLength(text)}:${text},`
