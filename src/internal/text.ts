export const byteLength = (text: string): number => new TextEncoder().encode(text).length

const loneSurrogate = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/

/** Whether UTF-8 has no form of a text. */
export const hasLoneSurrogate = (text: string): boolean => loneSurrogate.test(text)

/**
 * Why `text` cannot be a key in every backend, or `undefined` if it can. PostgreSQL's text holds no NUL, UTF-8 holds no
 * lone surrogate (two different ids would become one), and a key must fit into an index row.
 */
export const keyProblem = (text: unknown, maxBytes: number): string | undefined => {
  if (typeof text !== "string") return `is ${typeof text}, not a string`
  if (text.length === 0) return "is empty"
  // a UTF-16 unit takes at most three bytes: short texts need no count
  if (text.length > maxBytes || (text.length * 3 > maxBytes && byteLength(text) > maxBytes)) {
    return `is longer than ${maxBytes} bytes`
  }
  if (text.includes("\u0000")) return "contains a NUL character"
  if (hasLoneSurrogate(text)) return "contains a lone surrogate"
  return undefined
}

/** Removes from a text what a database cannot store: NUL and lone surrogates. */
export const storable = (text: string): string =>
  text.replaceAll("\u0000", "").replace(new RegExp(loneSurrogate, "g"), "\uFFFD")

/** Quotes a value for an error message, in at most 80 characters. */
export const quote = (value: unknown): string => {
  let text: string
  try {
    text = typeof value === "string" ? JSON.stringify(value) : String(value)
  } catch {
    // an object without a prototype, or with a toString that throws
    return `a value of type ${typeof value} that cannot be shown`
  }
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

export const cut = (text: string, most: number): string => text.length > most ? `${text.slice(0, most)}...` : text

/** The message of a failure in at most 500 characters, with the values in it: for tests. */
export const brief = (cause: unknown): string => {
  try {
    return cut(cause instanceof Error ? cause.message : String(cause), 500)
  } catch {
    return "the cause cannot be printed"
  }
}

/** The problem of input whose getter or proxy throws. */
export const unreadable = "the input cannot be read: a getter or a proxy throws"

/** Compares texts by the bytes of their UTF-8, as the databases do. In UTF-16 a surrogate pair would come too early. */
export const byteOrder = (a: string, b: string): number => {
  const shorter = Math.min(a.length, b.length)
  for (let i = 0; i < shorter; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return codePointRank(x) - codePointRank(y)
  }
  return a.length - b.length
}

// a code unit of a pair stands for a code point above all others
const codePointRank = (unit: number): number => unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
