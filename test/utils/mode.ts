import { inject } from "vitest"

/** Whether this is `npm run test:all`: long cases run in it alone. */
export const everything = inject("everything")
