/**
 * The columns of a row as they must be. A program may have its driver convert what it reads, and anyone who may write to
 * the database may change its rows: so no row of a store is used before it went through these.
 *
 * On PostgreSQL the statements select texts of the server's own, see {@link file://./pgText.ts}; SQLite gives numbers, or
 * bigints where a program asked for them, and goes on to give them to those who did not ask.
 */

/**
 * Any spelling of a whole number: a number, a bigint, or its digits.
 *
 * @internal
 */
export const number = (column: unknown): number => Number(column)

/** @internal */
export const text = (column: unknown): string => String(column)

/** @internal */
export const textOrNull = (column: unknown): string | null => column === null ? null : String(column)

/**
 * A condition, as SQL of either dialect writes it.
 *
 * @internal
 */
export const boolean = (column: unknown): boolean => column === "t"
