import { sha256 } from "../../schema/sha256.js"

const names = new Map<unknown, string>()

// every connection keeps the texts that it has prepared
const most = 256

/**
 * Notes a text that runs often, so that the driver can prepare it by name. The name is a hash of the text: behind a proxy
 * that does not know prepared statements, another process may have given a common name to another text.
 */
export const note = (text: string): void => {
  if (names.size === most || names.has(text)) return
  names.set(text, `eventsourcing_${sha256(text).slice(0, 32)}`)
}

export const nameOf = (text: unknown): string | undefined => names.get(text)
