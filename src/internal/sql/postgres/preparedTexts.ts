import { sha256 } from "../../schema/sha256.js"

const names = new Map<unknown, string>()

// every connection keeps what it has prepared
const most = 256

/**
 * A text that is run over and over. Its name says which it is: behind a proxy that knows nothing of prepared statements,
 * a name that another process gave to another text would run that, whereas one that is not there is an error.
 *
 * @internal
 */
export const note = (text: string): void => {
  if (names.size === most || names.has(text)) return
  names.set(text, `eventsourcing_${sha256(text).slice(0, 32)}`)
}

/** @internal */
export const nameOf = (text: unknown): string | undefined => names.get(text)
