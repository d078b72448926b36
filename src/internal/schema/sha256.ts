import { sha256 as hash } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"

/**
 * Hashes the UTF-8 of a text to lower-case hexadecimal. The hash is computed in JavaScript, because `crypto.subtle`, the
 * only hash of a browser, is asynchronous and `Aggregate.make` is not.
 */
export const sha256 = (text: string): string => bytesToHex(hash(utf8ToBytes(text)))
