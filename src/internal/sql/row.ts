/**
 * The columns of a row as they must be. A program may have its driver convert values, and any user with the right to write
 * may change rows. So the stores read each column with one of these functions.
 *
 * On PostgreSQL the statements select texts of the server, see {@link file://./postgres/text.ts}. SQLite gives numbers, or
 * bigints once a program asked for them.
 */

export type Row = Readonly<Record<string, unknown>>

/** Any spelling of a whole number: a number, a bigint, or its digits. */
export const number = (column: unknown): number => Number(column)

export const text = (column: unknown): string => String(column)

export const textOrNull = (column: unknown): string | null => column === null ? null : String(column)

/** A condition, as PostgreSQL writes it. */
export const boolean = (column: unknown): boolean => column === "t"
