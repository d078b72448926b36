import { sha256 as hash } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"

/** Hashes the UTF-8 of a text to hexadecimal, in JavaScript: `crypto.subtle` is asynchronous. */
export const sha256 = (text: string): string => bytesToHex(hash(utf8ToBytes(text)))
