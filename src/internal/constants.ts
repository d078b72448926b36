/**
 * The highest version of a stream, and of a schema: what an integer column of PostgreSQL holds.
 *
 * @internal
 */
export const maxVersion = 2_147_483_647

/**
 * How many events the tail of a snapshot seldom has more of: a page of no more is asked for where few are expected.
 *
 * @internal
 */
export const shortPage = 1_000

/**
 * How many milliseconds from 1970 a JavaScript date can be.
 *
 * @internal
 */
export const maxTime = 8_640_000_000_000_000

/**
 * Whether a time in milliseconds since 1970 is one of a date. It is checked where it enters.
 *
 * @internal
 */
export const isDate = (time: number): boolean => Math.abs(time) <= maxTime

/** @internal */
export const noDate = `no date: it must be at most ${maxTime} milliseconds from 1970`
