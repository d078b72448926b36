// How the row of an event is left whose content was archived or removed. Why: docs/decisions/0162-truncated-streams.md.

/** Is never JSON, so that a program that does not know of it fails. */
export const emptied = { payload: "", metadata: "{}" }

export const isEmptied = ({ payload }: { readonly payload: string }): boolean => payload === ""
