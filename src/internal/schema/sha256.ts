import { sha256 as hash } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"

const crypto = globalThis.process?.getBuiltinModule?.("node:crypto")

/**
 * Hashes the UTF-8 of a text to hexadecimal. Node.js hashes twenty times as fast as JavaScript does, which a browser needs:
 * its `crypto.subtle` is asynchronous.
 */
export const sha256: (text: string) => string = crypto === undefined
  ? (text) => bytesToHex(hash(utf8ToBytes(text)))
  : (text) => crypto.createHash("sha256").update(text, "utf8").digest("hex")
