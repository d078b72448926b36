import { sha256 as hash } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"

/**
 * Hashes the UTF-8 of a text, to lower-case hexadecimal. In JavaScript, so that a domain model runs in a browser too: the
 * platform's own hash there (`crypto.subtle`) is asynchronous, and `Aggregate.make` is not.
 *
 * @internal
 */
export const sha256 = (text: string): string => bytesToHex(hash(utf8ToBytes(text)))
