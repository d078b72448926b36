// Seals the personal data in messages that the tables of a cluster keep.
// A sealed value opens in a message of the same aggregate. Messages of commands that are not persisted stay as they are.
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import { EventStoreError } from "../../EventStore.js"
import { InvalidOption } from "../../InvalidOption.js"
import * as StreamId from "../../StreamId.js"
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
