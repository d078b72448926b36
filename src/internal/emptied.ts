// How the row of an event is left whose content was archived or removed. Why: docs/decisions/0162-truncated-streams.md.

/** Is never JSON, so that a program that does not know of it fails. */
export const payload = ""

/** The metadata of a row without a tenant. The filter of the feed by tenant still finds the others. */
export const metadata = "{}"

export const isEmptied = (event: { readonly payload: string }): boolean => event.payload === payload
