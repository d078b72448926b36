// The handler of a command, with the stores of the database that its options name.
import * as Effect from "effect/Effect"
import type { Url } from "./client.js"
import * as Database from "./database.js"
import type { CliError } from "./errors.js"
import type { Given } from "./keys.js"
import type { Services } from "./services.js"

/** The values of the options that all commands share. */
export interface Shared {
  readonly url: Url
  readonly prefix: string
  readonly json: boolean
}

/** Gives a handler the stores. It opens a SQLite file read-only. */
export const reading: <C extends Shared, E, R>(
  handle: (config: C) => Effect.Effect<void, E, R>
) => (config: C) => Effect.Effect<void, E | CliError, Exclude<R, Services>> = (handle) => (config) =>
  Effect.provide(handle(config), Database.layer({ ...config, isWriting: false }))

/** Gives a handler the stores, and lets it change them. */
export const writing: typeof reading = (handle) => (config) =>
  Effect.provide(handle(config), Database.layer({ ...config, isWriting: true }))

/** Gives a handler the stores, which open personal data if there is a key store. */
export const opening: <C extends Shared & Given, E, R>(
  handle: (config: C) => Effect.Effect<void, E, R>,
  isWriting?: (config: C) => boolean
) => (config: C) => Effect.Effect<void, E | CliError, Exclude<R, Services>> =
  (handle, isWriting = () => false) => (config) =>
    Effect.provide(handle(config), Database.layer({ ...config, isWriting: isWriting(config), keys: config }))
