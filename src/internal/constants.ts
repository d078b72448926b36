/** The highest version of a stream, and of a schema: what an integer column of PostgreSQL holds. */
export const maxVersion = 2_147_483_647

/** The size of the first page of a load. Most streams have fewer events, and so have most tails after a snapshot. */
export const shortPage = 1_024

/** The payloads of a page have about so many bytes, at most. */
export const pageBytes = 16_000_000

/** A page of the feed or of a stream has so many events, at most. */
export const mostInPage = 4_000

/** The last millisecond from 1970 that a JavaScript date can hold. */
export const maxTime = 8_640_000_000_000_000

/** Whether a date can hold a time in milliseconds since 1970. */
export const isDate = (time: number): boolean => Math.abs(time) <= maxTime

export const noDate = `not a date: it must be at most ${maxTime} milliseconds from 1970`

/** The maximal length of a subject of personal data, in bytes of UTF-8. */
export const maxSubjectBytes = 255
