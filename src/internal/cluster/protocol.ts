import * as ClusterSchema from "@effect/cluster/ClusterSchema"
import * as Entity from "@effect/cluster/Entity"
import * as Rpc from "@effect/rpc/Rpc"
import * as Schema from "effect/Schema"
import { sha256 } from "../schema/sha256.js"

/**
 * Executes the commands in a text of `wire`, and answers with one. The client takes no answer after `before`, in
 * milliseconds: it sends the commands again, or gives up.
 */
export const Execute = Rpc.make("execute", {
  payload: { request: Schema.String, before: Schema.optional(Schema.Number) },
  success: Schema.String
})

/** Loads the state. The payload is the encoded id. */
export const Load = Rpc.make("load", { payload: { id: Schema.String }, success: Schema.String })

export type Rpcs = typeof Execute | typeof Load

/** The entity of an aggregate. A message has no primary key: the event store finds the events of a repeated command. */
export const make = (name: string, persisted: boolean): Entity.Entity<string, Rpcs> =>
  Entity.make(name, [persisted ? Execute.annotate(ClusterSchema.Persisted, true) : Execute, Load])

const hashed = "sha256-"

/**
 * The columns of the cluster hold 255 characters, and its messages no id with space at either end. Such an id is hashed,
 * and so is one that looks like a hash.
 */
export const entityIdOf = (id: string): string =>
  id.length <= 200 && id.trim() === id && !id.startsWith(hashed) ? id : `${hashed}${sha256(id)}`
