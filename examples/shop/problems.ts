// Gives each error of the library a status. The rejections of the aggregates are not named here: they have their own.
import { HttpApiError } from "@effect/platform"
import { Effect } from "effect"
import type { EventStore, Projections } from "effect-eventsourcing"
import { Behind, Outdated, TryAgain } from "./api.js"

const badRequest = () => Effect.fail(new HttpApiError.BadRequest())

const tryAgain = (mayHaveHappened: boolean) => () => Effect.fail(new TryAgain({ mayHaveHappened }))

/** The details are for the log, not for clients. */
export const fault = (error: { readonly message: string }) =>
  Effect.zipRight(Effect.logError(error.message), Effect.fail(new HttpApiError.InternalServerError()))

export const ofLoad = {
  EventDecodeError: fault,
  EventStoreError: (error: EventStore.EventStoreError) =>
    error.reason === "InvalidInput"
      ? badRequest()
      : Effect.zipRight(Effect.logWarning(error.message), tryAgain(error.mayHaveAppended)()),
  HistoryGap: fault,
  HistoryRewritten: tryAgain(false),
  IdEncodeError: badRequest,
  ReplayTooLong: tryAgain(false),
  StreamDeleted: () => Effect.fail(new HttpApiError.Gone())
}

export const ofExecute = {
  ...ofLoad,
  EventEncodeError: fault,
  InlineProjectionError: fault,
  InvalidCommand: badRequest,
  InvalidCommandId: badRequest
}

/** A client that expects no version is never outdated: other writers won at each attempt. */
export const ofConflict = (isExpecting: boolean) => ({ actual }: EventStore.VersionConflict) =>
  Effect.fail(isExpecting ? new Outdated({ version: actual }) : new TryAgain({ mayHaveHappened: false }))

/** A failure of the database, or of the projection's own tables. */
const ofStores = {
  CheckpointStoreError: tryAgain(false),
  SqlError: fault,
  ParseError: fault,
  SubscriptionMismatch: fault
}

export const ofLists = {
  ...ofStores,
  AwaitTimeout: () => Effect.fail(new Behind()),
  ProjectionStopped: (error: Projections.ProjectionStopped) =>
    Effect.zipRight(Effect.logError(error.message), Effect.fail(new Behind()))
}

export const ofStatus = { CheckpointStoreError: tryAgain(false), EventStoreError: tryAgain(false) }
