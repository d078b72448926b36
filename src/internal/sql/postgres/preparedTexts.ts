import { sha256 } from "../../schema/sha256.js"
import { postgres, type Write } from "../statement.js"

const names = new Map<unknown, string>()

// every connection keeps the texts that it has prepared
const most = 256

/** Notes a text that the driver can prepare by name. The name is a hash: processes share a proxy's connections. */
export const note = (text: string): void => {
  if (names.size === most || names.has(text)) return
  names.set(text, `eventsourcing_${sha256(text).slice(0, 32)}`)
}

/** Makes a statement that the driver can prepare by name. */
export const write: Write = (text) => {
  const statement = postgres(text)
  note(statement({}).text)
  return statement
}

export const nameOf = (text: unknown): string | undefined => names.get(text)
