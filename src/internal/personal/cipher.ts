// Seals texts by AES-256-GCM of node:crypto.
// A sealed text is the base64 of: a byte for the format, four for the number of the key, twelve random ones, sixteen that
// prove the text and its place, and the encrypted text.
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as RedactedValue from "effect/Redacted"
import { InvalidOption } from "../../InvalidOption.js"

export interface Cipher {
  readonly seal: (
    text: string,
    options: { readonly key: Key; readonly version: number; readonly place: string }
  ) => string
  /** Gives the number of the key that sealed a text. `None`: it is not a sealed text. */
  readonly versionOf: (sealed: string) => Option.Option<number>
  /** `None`: the text was changed, or sealed by another key or at another place. */
  readonly open: (sealed: string, options: { readonly key: Key; readonly place: string }) => Option.Option<string>
}

export type Key = Redacted.Redacted<Uint8Array>

/** Makes the cipher, or says why there is none. */
export const make = (): Cipher | InvalidOption => {
  // not imported: this is a part of bundles for browsers, which do not have these modules
  const crypto = globalThis.process?.getBuiltinModule?.("node:crypto")
  const buffer = globalThis.process?.getBuiltinModule?.("node:buffer")
  if (crypto === undefined || buffer === undefined) {
    return new InvalidOption({
      option: "Personal.layer",
      value: "a platform without node:crypto",
      expected: "Node.js, or a platform with its modules"
    })
  }
  const { Buffer } = buffer
  const read = (sealed: string) => {
    const bytes = Buffer.from(sealed, "base64")
    return bytes.length < header || bytes[0] !== format ? undefined : bytes
  }
  return {
    seal: (text, { key, place, version }) => {
      const iv = crypto.randomBytes(ivLength)
      const cipher = crypto.createCipheriv(algorithm, RedactedValue.value(key), iv)
      cipher.setAAD(Buffer.from(place, "utf8"))
      const encrypted = cipher.update(text, "utf8")
      cipher.final()
      const head = Buffer.alloc(5)
      head[0] = format
      head.writeUInt32BE(version, 1)
      return Buffer.concat([head, iv, cipher.getAuthTag(), encrypted]).toString("base64")
    },
    versionOf: (sealed) => Option.map(Option.fromNullable(read(sealed)), (bytes) => bytes.readUInt32BE(1)),
    open: (sealed, { key, place }) => {
      const bytes = read(sealed)
      if (bytes === undefined) return Option.none()
      try {
        const decipher = crypto.createDecipheriv(algorithm, RedactedValue.value(key), bytes.subarray(5, 5 + ivLength))
        decipher.setAAD(Buffer.from(place, "utf8"))
        decipher.setAuthTag(bytes.subarray(5 + ivLength, header))
        const text = decipher.update(bytes.subarray(header))
        return Option.some(Buffer.concat([text, decipher.final()]).toString("utf8"))
      } catch {
        return Option.none()
      }
    }
  }
}

const algorithm = "aes-256-gcm"

const format = 1

const ivLength = 12

const header = 5 + ivLength + 16
