// a module whose layer cannot be built
import { Effect, Layer } from "effect"

export { Deposits } from "./deposits.js"

export const layer = Layer.effectDiscard(Effect.fail(new Error("the service is away")))
