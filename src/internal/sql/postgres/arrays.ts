// Writes arrays as PostgreSQL reads them. The driver's own way takes two searches and a replacement for each element.

/**
 * Writes an array of texts. JSON escapes quotes and backslashes as an array of PostgreSQL does, and writes other
 * characters as they are, except for control characters and lone surrogates.
 */
export const texts = (values: ReadonlyArray<string>): string =>
  `{${(values.every(isPlain) ? JSON.stringify(values) : `[${values.map(escaped).join()}]`).slice(1, -1)}}`

export const numbers = (values: ReadonlyArray<number | null>): string => `{${values.map(String).join()}}`

// the characters that JSON writes in another way
const special = /[\u0000-\u001f\ud800-\udfff]/

const isPlain = (value: string): boolean => !special.test(value)

const escaped = (value: string): string => `"${value.replaceAll(/["\\]/g, "\\$&")}"`
