// Selects the markers of streams. Projection exports it.
import * as Markers from "../markers.js"
import type { AnySelectable, Marked } from "./definition.js"

/**
 * Selects the ends of the streams of an aggregate that were deleted by `Streams.delete`. The handler gets such an end as
 * an event with the tag `$deleted`, in order with the other events.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Account = Aggregate.make({
 *   name: "Account",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Deposited", { amount: Schema.Int }),
 *   command: Schema.TaggedStruct("Deposit", { amount: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (state, { amount }) => state + amount,
 *   decide: (_, { amount }) => Either.right([{ _tag: "Deposited", amount }])
 * })
 *
 * const Balances = Projection.makeByTag({
 *   name: "balances",
 *   on: [Account, Projection.deleted(Account)],
 *   handlers: {
 *     Account: {
 *       Deposited: ({ aggregateId, event }) =>
 *         Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *           sql`INSERT INTO balances VALUES (${aggregateId}, ${event.amount})
 *             ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance`),
 *       $deleted: ({ aggregateId }) =>
 *         Effect.flatMap(SqlClient.SqlClient, (sql) => sql`DELETE FROM balances WHERE account = ${aggregateId}`)
 *     }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const deleted = <A extends AnySelectable>(aggregate: A): Marked<A, Markers.Deleted> => ({
  _tag: "Marked",
  aggregate,
  marker: Markers.deleted
})

/**
 * Selects the markers of events of an aggregate that were rewritten by `Streams.rewrite`. The handler gets such a marker
 * as an event with the tag `$rewritten`, which has the version of the rewritten event. It can then read the stream again.
 *
 * @example
 * ```ts
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Customer = Aggregate.make({
 *   name: "Customer",
 *   id: Schema.NonEmptyString,
 *   state: Schema.String,
 *   event: Schema.TaggedStruct("Named", { name: Schema.String }),
 *   command: Schema.TaggedStruct("Name", { name: Schema.String }),
 *   initial: () => "",
 *   evolve: (_, { name }) => name,
 *   decide: (_, { name }) => Either.right([{ _tag: "Named", name }])
 * })
 *
 * const Rewrites = Projection.make({
 *   name: "rewrites",
 *   on: [Projection.rewritten(Customer)],
 *   handle: (events) => Effect.log(events.map(({ aggregateId, event }) => `${aggregateId}: ${event.version}`))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const rewritten = <A extends AnySelectable>(aggregate: A): Marked<A, Markers.Rewritten> => ({
  _tag: "Marked",
  aggregate,
  marker: Markers.rewritten
})

/**
 * Selects the markers of streams of an aggregate that were truncated by `Streams.truncate`. The handler gets such a marker
 * as an event with the tag `$truncated`, which has the first version that keeps its content. A projection that asks for
 * these markers skips events whose content was removed before it has handled them. It can then load the state.
 *
 * @example
 * ```ts
 * import { Effect, Either, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Meter = Aggregate.make({
 *   name: "Meter",
 *   id: Schema.NonEmptyString,
 *   state: Schema.Int,
 *   event: Schema.TaggedStruct("Read", { value: Schema.Int }),
 *   command: Schema.TaggedStruct("Read", { value: Schema.Int }),
 *   initial: () => 0,
 *   evolve: (_, { value }) => value,
 *   decide: (_, command) => Either.right([command])
 * })
 *
 * const Truncations = Projection.make({
 *   name: "truncations",
 *   on: [Projection.truncated(Meter)],
 *   handle: (events) => Effect.log(events.map(({ aggregateId, event }) => `${aggregateId}: ${event.before}`))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const truncated = <A extends AnySelectable>(aggregate: A): Marked<A, Markers.Truncated> => ({
  _tag: "Marked",
  aggregate,
  marker: Markers.truncated
})
