import { inject } from "vitest"

/** Whether this is `npm run test:all`: long cases run in it alone. */
export const everything = inject("everything")

/** The sizes of the contract where it is run again: a short run appends and stores what is large in its own file alone. */
export const sizes = { largeAppends: everything, largePayloads: everything }
