const names = new Map<unknown, string>()

// every connection keeps what it has prepared
const most = 256

/**
 * A text that is run over and over.
 *
 * @internal
 */
export const note = (text: string): void => {
  if (names.size < most && !names.has(text)) names.set(text, `eventsourcing_${names.size + 1}`)
}

/** @internal */
export const nameOf = (text: unknown): string | undefined => names.get(text)
