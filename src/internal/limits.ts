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
