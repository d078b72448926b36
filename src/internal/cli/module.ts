// Finds what a module of the user's exports: aggregates, projections, subscriptions, and the layers that they need.
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import * as Aggregate from "../../Aggregate.js"
import type { KeyStore } from "../../KeyStore.js"
import * as Projection from "../../Projection.js"
import * as Subscription from "../../Subscription.js"
import { describe } from "../sql/failure.js"
import { CliError } from "./errors.js"
import type { Services } from "./services.js"

/** An aggregate of which only the encoded side is known. */
export type Unknown = Aggregate.Aggregate<string, unknown, unknown, unknown, unknown, unknown>

/** A projection or a subscription, with the services of the module's layer. */
export type Definition =
  | Projection.Projection<unknown, unknown, never>
  | Subscription.Subscription<
    unknown,
    unknown,
    never
  >

type HandlerLayer = Layer.Layer<never, unknown, Services>

type KeyStoreLayer = Layer.Layer<KeyStore, unknown, SqlClient.SqlClient>

const isAggregate = (value: unknown): value is Unknown => Predicate.hasProperty(value, Aggregate.TypeId)

const isDefinition = (value: unknown): value is Definition =>
  Predicate.hasProperty(value, Projection.TypeId) || Predicate.hasProperty(value, Subscription.TypeId)

const isHandlerLayer = (value: unknown): value is HandlerLayer => Layer.isLayer(value)

const isKeyStoreLayer = (value: unknown): value is KeyStoreLayer => Layer.isLayer(value)

const hintOf = (file: string): string =>
  /\.[cm]?tsx?$/.test(file) ? ". Compile it to JavaScript, or set NODE_OPTIONS='--import tsx'" : ""

const load = (file: string): Effect.Effect<Readonly<Record<string, unknown>>, CliError> =>
  Effect.map(
    Effect.tryPromise({
      try: (): Promise<unknown> => import(pathToFileURL(path.resolve(file)).href),
      catch: (cause) => new CliError({ detail: `--module ${file} cannot be loaded: ${describe(cause)}${hintOf(file)}` })
    }),
    (loaded) => Predicate.isRecord(loaded) ? loaded : {}
  )

/** The aggregates of the module by name. It fails if there are none. */
export const aggregates = (file: string): Effect.Effect<ReadonlyMap<string, Unknown>, CliError> =>
  Effect.gen(function*() {
    // one may be exported under two names
    const found = Arr.dedupe(Object.values(yield* load(file)).filter(isAggregate))
    if (found.length === 0) {
      return yield* new CliError({
        detail: `--module ${file} exports no aggregate: export what Aggregate.make returns`
      })
    }
    const byName = new Map(found.map((aggregate) => [aggregate.name, aggregate]))
    return byName.size === found.length ? byName : yield* new CliError({
      detail: `--module ${file} exports several aggregates of one name: give a module that exports the one in use`
    })
  })

/** One of them. */
export const aggregate = (file: string, name: string): Effect.Effect<Unknown, CliError> =>
  Effect.flatMap(aggregates(file), (found) => {
    const aggregate = found.get(name)
    return aggregate === undefined
      ? new CliError({ detail: `--module ${file} does not export this aggregate, but ${[...found.keys()].join(", ")}` })
      : Effect.succeed(aggregate)
  })

/** Whether it is a projection, and not a subscription. */
export const isProjection = (definition: Definition): definition is Projection.Projection<unknown, unknown, never> =>
  Predicate.hasProperty(definition, Projection.TypeId)

const versionOf = (definition: Definition): number => isProjection(definition) ? definition.version : 1

/** The projection or subscription with this name and version. */
export const definition = (
  file: string,
  key: { readonly name: string; readonly version: number }
): Effect.Effect<Definition, CliError> =>
  Effect.gen(function*() {
    const all = Arr.dedupe(Object.values(yield* load(file)).filter(isDefinition))
    const found = all.filter((definition) => definition.name === key.name && versionOf(definition) === key.version)
    if (found.length === 1) return found[0]
    const those = all.map((definition) => `${definition.name} ${versionOf(definition)}`).join(", ")
    return yield* new CliError({
      detail: found.length > 1
        ? `--module ${file} exports several definitions of this name and version: give one that exports the one in use`
        : `--module ${file} does not export version ${key.version} of it, but ${
          those === "" ? "none" : those
        }: export ` +
          "what Projection.make or Subscription.make returns"
    })
  })

/** The layer with the services of the handlers. Without it they have the stores of the command line. */
export const layer = (file: string): Effect.Effect<HandlerLayer, CliError> =>
  Effect.map(named(file, "layer", isHandlerLayer), Option.getOrElse(() => Layer.empty))

/** The layer of the key store. */
export const keyStore = (file: string): Effect.Effect<Option.Option<KeyStoreLayer>, CliError> =>
  named(file, "keyStore", isKeyStoreLayer)

const named = <A>(
  file: string,
  name: string,
  isOne: (value: unknown) => value is A
): Effect.Effect<Option.Option<A>, CliError> =>
  Effect.flatMap(load(file), (loaded) => {
    const value = loaded[name]
    if (value === undefined) return Effect.succeedNone
    return isOne(value)
      ? Effect.succeedSome(value)
      : new CliError({ detail: `${name} of --module ${file} is not a layer` })
  })

/** Builds a layer of the module. Its failures and defects are the user's: they end the command with their message. */
export const build = <A, R>(
  file: string,
  name: string,
  layer: Layer.Layer<A, unknown, R>
): Effect.Effect<Context.Context<A>, CliError, R | Scope.Scope> =>
  Effect.catchAllCause(
    Layer.build(layer),
    (cause) => new CliError({ detail: `${name} of --module ${file} cannot be built: ${describe(Cause.squash(cause))}` })
  )
