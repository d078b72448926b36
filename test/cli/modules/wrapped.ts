// a module whose program has its keys wrapped by a key service
import { Effect, Encoding, Redacted } from "effect"
import { SqlKeyStore } from "effect-eventsourcing"

export { Customer } from "../../fixtures/Customer.js"

/** The key service: what it wraps is another text. */
export const keyStore = SqlKeyStore.layerWith({
  migrate: false,
  wrap: (key) => Effect.succeed(`kms:${Encoding.encodeBase64(Redacted.value(key).toReversed())}`),
  unwrap: (text) =>
    Effect.map(
      Encoding.decodeBase64(text.replace("kms:", "")),
      (bytes) => Redacted.make(bytes.toReversed())
    )
})
