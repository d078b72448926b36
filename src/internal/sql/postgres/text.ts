/**
 * A column, or another expression of its type, as the server's own text for it.
 *
 * A program may replace the driver's parser of every type that a column can have, for one client or for all, and by one that
 * throws. These functions give a `cstring`, which no column can have: its text gets here as the server wrote it.
 *
 * @internal
 */
export const pgText = (expression: string, type: keyof typeof output): string => `${output[type]}(${expression})`

const output = {
  bigint: "int8out",
  boolean: "boolout",
  integer: "int4out",
  name: "nameout",
  numeric: "numeric_out",
  text: "textout"
} as const
