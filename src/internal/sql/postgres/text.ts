/**
 * Selects an expression as the server's own text. A program may replace the driver's parser of every type that a column can
 * have. These functions give a `cstring`, which a column cannot have: the driver passes its text on as the server wrote it.
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
