/**
 * Personal data in events, commands and states, which can be erased although the events stay.
 *
 * A field with `Personal.schema` names its subject, such as a customer. The stores seal its value under a key of that
 * subject, and open it when they read it. `Personal.erase` destroys the key: from then on all copies of the value, in
 * events, snapshots, backups and archives, cannot be read, and the field is `Erased`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type * as EventStore from "./EventStore.js"
import { finiteDurationProblem, recordProblem, waitProblem, wholeFromOne } from "./internal/options.js"
import * as Cipher from "./internal/personal/cipher.js"
import * as Driver from "./internal/personal/driver.js"
import * as KeyCache from "./internal/personal/keyCache.js"
import * as Sealer from "./internal/personal/sealer.js"
import {
  type Encoded,
  Erased,
  isPersonal,
  type Personal,
  Present,
  schema as makeSchema
} from "./internal/schema/personal.js"
import { Sealing } from "./internal/store/sealing.js"
import { InvalidOption } from "./InvalidOption.js"
import * as KeyStore from "./KeyStore.js"

export { type Encoded, Erased, type Personal, Present, TypeId } from "./internal/schema/personal.js"
export { type Opened, Sealing, type Text, Unsealable } from "./internal/store/sealing.js"

/**
 * A schema of personal data of a subject. The value may have any schema that does not hold personal data itself.
 *
 * The stored form of the subject is not sealed: use an id that says nothing about the person.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 * import { Schema } from "effect"
 *
 * const CustomerId = Schema.String.pipe(Schema.brand("CustomerId"))
 *
 * const Registered = Schema.TaggedStruct("Registered", {
 *   email: Personal.schema(CustomerId, Schema.String),
 *   address: Personal.schema(CustomerId, Schema.Struct({ street: Schema.String, city: Schema.String }))
 * })
 * ```
 *
 * @since 0.1.0
 * @category schemas
 */
export const schema: <Subject, A, I>(
  subject: Schema.Schema<Subject, string>,
  value: Schema.Schema<A, I>
) => Schema.Schema<Personal<Subject, A>, Encoded<I>> = makeSchema

/**
 * Makes personal data of a subject.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const email = Personal.make("customer-7", "ada@example.com")
 * String(email) // Personal(<redacted>)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Subject, A>(subject: Subject, value: A): Personal<Subject, A> => new Present(subject, value)

/**
 * Makes personal data of an erased subject, as the stores give it. For tests.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const email: Personal.Personal<string, string> = Personal.erased("customer-7")
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const erased = <Subject>(subject: Subject): Personal<Subject, never> => new Erased(subject)

/**
 * Handles both forms of personal data.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const addressee = (name: Personal.Personal<string, string>) =>
 *   Personal.match(name, { onPresent: (name) => name, onErased: () => "a former customer" })
 * ```
 *
 * @since 0.1.0
 * @category pattern matching
 */
export const match: {
  <Subject, A, B, C = B>(options: {
    readonly onPresent: (value: A, subject: Subject) => B
    readonly onErased: (subject: Subject) => C
  }): (self: Personal<Subject, A>) => B | C
  <Subject, A, B, C = B>(self: Personal<Subject, A>, options: {
    readonly onPresent: (value: A, subject: Subject) => B
    readonly onErased: (subject: Subject) => C
  }): B | C
} = dual(2, <Subject, A, B, C = B>(self: Personal<Subject, A>, options: {
  readonly onPresent: (value: A, subject: Subject) => B
  readonly onErased: (subject: Subject) => C
}): B | C => self._tag === "Present" ? options.onPresent(self.value, self.subject) : options.onErased(self.subject))

/**
 * Tells whether a value is personal data.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * Personal.is(Personal.make("customer-7", "ada@example.com")) // true
 * ```
 *
 * @since 0.1.0
 * @category guards
 */
export const is: (value: unknown) => value is Personal<unknown, unknown> = isPersonal

/**
 * The options of {@link layerWith}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How long keys stay in memory. After an erasure, other processes may read the data for so long. Default 1 second.
   * With 0 each append and each page that is read asks the key store.
   */
  readonly timeToLive?: Duration.DurationInput | undefined
  /** The number of subjects whose keys stay in memory, at most. Default 10,000. */
  readonly capacity?: number | undefined
  /** How long a call of the key store may take. Default 10 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Lets the stores that are built with it seal personal data, with options.
 *
 * @example
 * ```ts
 * import { Personal, SqlKeyStore, SqlStores } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const PersonalLive = Layer.provide(Personal.layerWith({ timeToLive: "100 millis" }), SqlKeyStore.layer)
 * const StoresLive = Layer.provideMerge(SqlStores.layer, PersonalLive)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<Sealing, InvalidOption, KeyStore.KeyStore> =>
  Layer.effect(
    Sealing,
    Effect.gen(function*() {
      const problem = optionsProblem(options)
      if (problem !== undefined) return yield* problem
      const { capacity = 10_000, timeout = "10 seconds", timeToLive = "1 second" } = options
      const cipher = Cipher.make()
      if (cipher instanceof InvalidOption) return yield* cipher
      const store = yield* KeyStore.KeyStore
      return Sealer.make(store, KeyCache.make(store, { capacity, timeout, timeToLive }), cipher)
    })
  )

/**
 * Lets the stores that are built with it seal personal data. A store without it refuses personal data, and a repository
 * of an aggregate with personal data cannot be made on it.
 *
 * @example
 * ```ts
 * import { Personal, SqlKeyStore, SqlStores } from "effect-eventsourcing"
 * import { Layer } from "effect"
 *
 * const StoresLive = SqlStores.layer.pipe(
 *   Layer.provideMerge(Personal.layer),
 *   Layer.provide(SqlKeyStore.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Sealing, InvalidOption, KeyStore.KeyStore> = layerWith({})

/**
 * Erases a subject: destroys its keys, so that its data cannot be read any more, and leaves a fence, so that it never
 * gets new ones. Returns whether there were keys.
 *
 * Loads, states in memory and snapshots give `Erased` from then on: in this process at once, and in others within the
 * `timeToLive` of their keys. An append of data of the subject fails. It is safe to erase a subject again.
 *
 * The subject is given in its encoded form.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const forgotten = Personal.erase("customer-7")
 * ```
 *
 * @since 0.1.0
 * @category erasing
 */
export const erase = (subject: string): Effect.Effect<boolean, KeyStore.KeyStoreError, Sealing> =>
  Effect.flatMap(Sealing, (sealing) => sealing.erase(subject))

/**
 * Gives a subject a new key, with which its data is sealed from now on. What the older keys have sealed stays readable.
 * `SqlKeyStore.rewrap` is for a new master key of a key service.
 * Returns false if the subject was erased.
 *
 * @example
 * ```ts
 * import { Personal } from "effect-eventsourcing"
 *
 * const rotated = Personal.rotate("customer-7")
 * ```
 *
 * @since 0.1.0
 * @category erasing
 */
export const rotate = (subject: string): Effect.Effect<boolean, KeyStore.KeyStoreError, Sealing> =>
  Effect.flatMap(Sealing, (sealing) => Effect.map(sealing.rotate(subject), ({ _tag }) => _tag === "Keys"))

/**
 * Lets a driver of an event store seal payloads, if `Personal.layer` is provided. Otherwise the driver refuses personal
 * data.
 *
 * @example
 * ```ts
 * import { EventStore, Personal } from "effect-eventsourcing"
 * import { Effect, Layer } from "effect"
 *
 * const layer = (driver: EventStore.Encoded) =>
 *   Layer.effect(EventStore.EventStore, Effect.map(Personal.driver(driver), EventStore.makeEncoded))
 * ```
 *
 * @since 0.1.0
 * @category drivers
 */
export const driver = (driver: EventStore.Encoded): Effect.Effect<EventStore.Encoded> =>
  Effect.map(Effect.serviceOption(Sealing), (sealing) => ({ ...driver, ...Driver.over(driver, sealing) }))

const optionsProblem = (options: Options): InvalidOption | undefined =>
  recordProblem("options of Personal.layer", options, ["timeToLive", "capacity", "timeout"]) ??
    (options.timeToLive === undefined ? undefined : waitProblem("timeToLive", options.timeToLive)) ??
    wholeFromOne("capacity", options.capacity) ??
    finiteDurationProblem("timeout", options.timeout)
