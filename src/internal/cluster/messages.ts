// Seals the personal data in messages that the tables of a cluster keep.
// A sealed value opens in a message of the same aggregate. Messages of commands that are not persisted stay as they are.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { EventStoreError } from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import * as StreamId from "../../StreamId.js"
import * as Json from "../schema/json.js"
import { holdsPersonal } from "../schema/secrets.js"
import { Sealing, type Text } from "../store/sealing.js"

export interface Messages {
  readonly seal: (text: string) => Effect.Effect<string, EventStoreError>
  readonly open: (text: string) => Effect.Effect<string, EventStoreError>
}

/** How messages are sealed, or `undefined` if they have no personal data. Fails if they would be kept in clear. */
export const make = (
  name: string,
  { persisted, schemas }: { readonly persisted: boolean; readonly schemas: ReadonlyArray<Schema.Schema.Any> }
): Effect.Effect<Messages | undefined, InvalidOption> => {
  if (!persisted || !schemas.some(({ ast }) => holdsPersonal(ast))) return Effect.succeed(undefined)
  return Effect.flatMap(Effect.serviceOption(Sealing), (sealing) =>
    Option.isSome(sealing)
      ? Effect.succeed(sealingBy(sealing.value, name))
      : new InvalidOption({
        option: "AggregateEntity persisted",
        value: "true, for an aggregate with personal data, without Personal.layer",
        expected: "Personal.layer in each runner and each client, or persisted: false"
      }))
}

const sealingBy = (sealing: Sealing["Type"], name: string): Messages => {
  const at = (text: string): Text => ({ kind: "message", stream: StreamId.make(name, ""), text })
  return {
    seal: (text) =>
      Effect.mapBoth(sealing.seal([at(text)]), {
        onFailure: (error) => failure(error._tag === "KeyStoreError" ? "Unavailable" : "InvalidInput", error),
        onSuccess: ([sealed]) => sealed
      }),
    open: (text) =>
      Effect.mapBoth(sealing.open([at(text)]), {
        onFailure: (error) => failure("Unavailable", error),
        onSuccess: ([{ text }]) => text
      })
  }
}

const failure = (reason: EventStoreError["reason"], cause: Error): EventStoreError =>
  new EventStoreError({
    operation: "append",
    reason,
    mayHaveAppended: false,
    detail: `the message of the command cannot be sealed or opened: ${cause.message}`,
    cause
  })

const leftOut = "the message is left out: it would be stored, and the aggregate has personal data"

/** Replaces a defect, which the tables keep too: `decide` may have died with personal data in its message. */
export const withoutText = (cause: Cause.Cause<never>): Effect.Effect<never> => {
  if (Cause.isInterruptedOnly(cause)) return Effect.failCause(cause)
  const defect = Cause.squash(cause)
  const told = new Error(leftOut)
  told.name = defect instanceof Error ? defect.name : "Defect"
  return Effect.die(told)
}

/**
 * Removes the message of a failure's cause from an answer: a schema, `decide` or the handler of an inline projection may
 * have put personal data into it.
 */
export const withoutCauses = (answer: string): string => {
  const decoded = Either.flatMap(Json.parse(answer), Schema.decodeUnknownEither(Failed))
  if (Either.isLeft(decoded)) return answer
  const { error } = decoded.right
  const name = typeof error.cause === "object" ? error.cause.name : undefined
  return JSON.stringify({ ...decoded.right, error: { ...error, cause: { name: name ?? "Error", message: leftOut } } })
}

const Others = { key: Schema.String, value: Schema.Unknown }

const Failed = Schema.Struct({
  _tag: Schema.Literal("Failed"),
  error: Schema.Struct({
    cause: Schema.Union(Schema.String, Schema.Struct({ name: Schema.optional(Schema.String) }))
  }, Others)
}, Others)
