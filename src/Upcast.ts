/**
 * How an aggregate reads events that older code wrote. What is stored is never rewritten.
 *
 * @since 0.1.0
 */
import type * as Versions from "./Versions.js"

/**
 * What becomes of a stored type of older code:
 *
 * - `Versions`: its shape changed. The chain leads from the old shapes to a member of the event union.
 * - {@link renamed}: it is read as another type.
 * - {@link retired}: it no longer means anything. It still counts as a version of its stream.
 *
 * @since 0.1.0
 * @category models
 */
export type Upcast<Event extends { readonly _tag: string }> =
  | Versions.Versions<number, number, Event>
  | Renamed<StoredType<Event["_tag"]>>
  | Retired

/**
 * The types under which the versions of an event are stored: `Deposited` is version 1, `Deposited@2` is version 2.
 *
 * @since 0.1.0
 * @category models
 */
export type StoredType<Tag extends string> = Tag | `${Tag}@${number}`

/**
 * @since 0.1.0
 * @category models
 */
export interface Renamed<out Type extends string> {
  readonly _tag: "Renamed"
  readonly type: Type
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Retired {
  readonly _tag: "Retired"
}

/**
 * Read as an event of another stored type: what was `MoneyDeposited` is now a `Deposited`, or, where that has changed
 * its shape since, a `Deposited@2`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const renamed = <const Type extends string>(type: Type): Renamed<Type> => ({ _tag: "Renamed", type })

/**
 * Ignored, and that on purpose: the event keeps its version in the stream, and `evolve` never sees it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const retired: Retired = { _tag: "Retired" }

/**
 * The type under which a version of an event is stored.
 *
 * @since 0.1.0
 * @category formatting
 */
export const storedType = (type: string, version: number): string => version === 1 ? type : `${type}@${version}`
