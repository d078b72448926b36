// What stores and repositories need of the part that seals personal data. Personal exports and provides it.
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { KeyStoreError, SubjectKeys } from "../../KeyStore.js"
import type * as StreamId from "../../StreamId.js"

/**
 * A JSON text with personal data, and where it stands: the data of one place does not open at another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Text {
  readonly kind: "event" | "state" | "message"
  readonly stream: StreamId.StreamId
  readonly text: string
}

/**
 * A text whose personal data is opened.
 *
 * @since 0.1.0
 * @category models
 */
export interface Opened {
  readonly text: string
  /** Whether the text had sealed data of a subject that was erased. */
  readonly erased: boolean
}

/**
 * Signals that a text cannot be sealed, because its personal data is malformed or is of a subject that was erased. It
 * names the place of the data, and not the data.
 *
 * @example
 * ```ts
 * import type { Personal } from "effect-eventsourcing"
 *
 * const place = ({ index, path }: Personal.Unsealable) => `text ${index} at ${path}`
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export class Unsealable extends Data.TaggedError("Unsealable")<{
  /** The number of the text among those that were given. */
  readonly index: number
  readonly path: string
  /** Does not show the data. */
  readonly problem: string
}> {
  /** @since 0.1.0 */
  override get message(): string {
    return `${this.path} ${this.problem}`
  }
}

/**
 * Seals personal data in the texts of stores, and erases subjects. `Personal.layer` provides it.
 *
 * @example
 * ```ts
 * import { Personal, StreamId } from "effect-eventsourcing"
 * import { Effect } from "effect"
 *
 * const text = JSON.stringify({ $personal: "customer-7", value: "ada@example.com" })
 *
 * const sealed = Effect.flatMap(
 *   Personal.Sealing,
 *   (sealing) => sealing.seal([{ kind: "event", stream: StreamId.make("Customer", "7"), text }])
 * )
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class Sealing extends Context.Tag("effect-eventsourcing/Personal/Sealing")<Sealing, {
  /** Seals the personal data in texts. A text without any comes back as it is. */
  readonly seal: (texts: ReadonlyArray<Text>) => Effect.Effect<ReadonlyArray<string>, Unsealable | KeyStoreError>

  /**
   * Opens the sealed data in texts. Data of an erased subject becomes `erased`. Data that no key opens stays sealed, and
   * does not decode.
   */
  readonly open: (texts: ReadonlyArray<Text>) => Effect.Effect<ReadonlyArray<Opened>, KeyStoreError>

  /** Whether opened texts have data of a subject that was erased since. */
  readonly isOutdated: (texts: ReadonlyArray<string>) => Effect.Effect<boolean, KeyStoreError>

  /** Destroys the keys of a subject. Returns whether there were keys. */
  readonly erase: (subject: string) => Effect.Effect<boolean, KeyStoreError>

  /** Adds a key to those of a subject. */
  readonly rotate: (subject: string) => Effect.Effect<SubjectKeys, KeyStoreError>
}>() {}
