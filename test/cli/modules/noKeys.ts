// a module that gives a layer of something else as its key store
import { Layer } from "effect"

export { Customer } from "../../fixtures/Customer.js"

export const keyStore = Layer.empty
