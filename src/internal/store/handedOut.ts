import type * as StreamId from "../../StreamId.js"

/** Copies a row of a store in memory on its way out, so that no caller can change it. */
export const handedOut = <A extends { readonly stream: StreamId.StreamId }>(row: A): A => ({
  ...row,
  stream: { ...row.stream }
})
