/**
 * The highest version of a stream, and of a schema: what an integer column of PostgreSQL holds.
 *
 * @internal
 */
export const maxVersion = 2_147_483_647
