// Finds the key store of personal data.
//
//   1. The layer that the module exports as `keyStore`, which a program needs whose keys a key service wraps.
//   2. The table of keys in the database of --keys.
//   3. The table of keys beside the events.
import * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { EventStore } from "../../EventStore.js"
import * as KeyStore from "../../KeyStore.js"
import * as Personal from "../../Personal.js"
import * as SqlKeyStore from "../../SqlKeyStore.js"
import { concernsPersons } from "../schema/secrets.js"
import * as Client from "./client.js"
import { CliError } from "./errors.js"
import * as Module from "./module.js"

/** The options that tell where the keys are. */
export interface Given {
  readonly prefix: string
  readonly keys: Option.Option<Client.Url>
  readonly keysPrefix: Option.Option<string>
  readonly module: string | Option.Option<string>
}

type Store = KeyStore.KeyStore["Type"]

/** The key store. It fails if the command can read none. */
export const store = (
  given: Given,
  isWriting: boolean
): Effect.Effect<Store, CliError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const exported = yield* exportedBy(given.module)
    if (Option.isSome(exported)) return exported.value
    const prefix = Option.getOrElse(given.keysPrefix, () => given.prefix)
    const client = Option.isNone(given.keys)
      ? yield* SqlClient.SqlClient
      : Context.get(
        yield* Layer.build(Client.layer({ url: given.keys.value, isWriting })),
        SqlClient.SqlClient
      )
    return yield* SqlKeyStore.make({ prefix, migrate: false }).pipe(
      Effect.provideService(SqlClient.SqlClient, client),
      Effect.mapError(({ message }) => new CliError({ detail: `no key store can be read: ${message}. ${remedy}` }))
    )
  })

const remedy = "Give --keys, the database that has its table, with its --keys-prefix; or export the layer of the " +
  "KeyStore from the --module as keyStore"

/** What to do if personal data cannot be opened. */
export const missing = (aggregate: string): CliError =>
  new CliError({
    detail: `${aggregate} has personal data, and no key store beside the events can be read. ${remedy}`
  })

/** Whether the aggregate has personal data that these stores cannot open. */
export const areMissing = (aggregate: Module.Unknown, events: EventStore["Type"]): boolean =>
  Option.isNone(events.replay.sealing) && concernsPersons(aggregate)

/** Lets the stores open personal data, if there is a key store. */
export const sealing = (given: Given): Layer.Layer<never, CliError, SqlClient.SqlClient> =>
  Layer.scopedContext(Effect.gen(function*() {
    const found = yield* Effect.either(store(given, false))
    if (found._tag === "Right") return yield* sealingBy(found.right)
    // without an option for it, a database without a key store is not a fault
    const isAsked = Option.isSome(given.keys) || Option.isSome(given.keysPrefix) ||
      (yield* Effect.map(exportedBy(given.module), Option.isSome))
    return isAsked ? yield* found.left : Context.empty()
  }))

const sealingBy = (store: Store): Effect.Effect<Context.Context<never>, CliError, Scope.Scope> =>
  Layer.build(sealingOf(store))

export const sealingOf = (store: Store): Layer.Layer<Personal.Sealing, CliError> =>
  Personal.layer.pipe(
    Layer.provide(Layer.succeed(KeyStore.KeyStore, store)),
    Layer.mapError(({ message }) => new CliError({ detail: message }))
  )

const exportedBy = (
  module: Given["module"]
): Effect.Effect<Option.Option<Store>, CliError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const file = typeof module === "string" ? Option.some(module) : module
    const layer = Option.isNone(file) ? Option.none() : yield* Module.keyStore(file.value)
    if (Option.isNone(file) || Option.isNone(layer)) return Option.none()
    const built = yield* Module.build(file.value, "keyStore", layer.value)
    const found = Context.getOption(built, KeyStore.KeyStore)
    return Option.isSome(found) ? found : yield* new CliError({
      detail: `keyStore of --module ${file.value} does not provide a KeyStore: export a layer such as SqlKeyStore.layer`
    })
  })
