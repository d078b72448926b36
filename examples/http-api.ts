import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiError,
  HttpApiGroup,
  HttpApiSchema,
  HttpServer
} from "@effect/platform"
import { Context, Effect, Either, Layer, Schema } from "effect"
import { Aggregate, type EventStore, ExpectedVersion, Repository, type SnapshotStore } from "effect-eventsourcing"

// An HTTP API over an account: its payloads and its errors are the schemas of the aggregate, and each error of `execute` has
// a status.

export class Open extends Schema.TaggedClass<Open>()("Open", { owner: Schema.NonEmptyString }) {}
export class Deposit extends Schema.TaggedClass<Deposit>()("Deposit", { amount: Schema.Int.pipe(Schema.positive()) }) {}
export class Withdraw
  extends Schema.TaggedClass<Withdraw>()("Withdraw", { amount: Schema.Int.pipe(Schema.positive()) })
{}

class Opened extends Schema.TaggedClass<Opened>()("Opened", { owner: Schema.String }) {}
class Deposited extends Schema.TaggedClass<Deposited>()("Deposited", { amount: Schema.Int }) {}
class Withdrawn extends Schema.TaggedClass<Withdrawn>()("Withdrawn", { amount: Schema.Int }) {}

// `HttpApi` reads the status of a rejection from its schema
class NotOpen extends Schema.TaggedError<NotOpen>()("NotOpen", {}, HttpApiSchema.annotations({ status: 404 })) {}
class AlreadyOpen extends Schema.TaggedError<AlreadyOpen>()(
  "AlreadyOpen",
  { owner: Schema.String },
  HttpApiSchema.annotations({ status: 409 })
) {}
class InsufficientFunds extends Schema.TaggedError<InsufficientFunds>()(
  "InsufficientFunds",
  { balance: Schema.Int },
  HttpApiSchema.annotations({ status: 422 })
) {}

export const Account = Aggregate.make({
  name: "Account",
  id: Schema.NonEmptyString,
  state: Schema.Struct({ owner: Schema.NullOr(Schema.String), balance: Schema.Int }),
  event: Schema.Union(Opened, Deposited, Withdrawn),
  command: Schema.Union(Open, Deposit, Withdraw),
  rejection: Schema.Union(NotOpen, AlreadyOpen, InsufficientFunds),
  initial: () => ({ owner: null, balance: 0 }),
  evolve: {
    Opened: (state, { owner }) => ({ ...state, owner }),
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount }),
    Withdrawn: (state, { amount }) => ({ ...state, balance: state.balance - amount })
  },
  decide: {
    Open: (state, { owner }) =>
      state.owner === null
        ? Either.right([new Opened({ owner })])
        : Either.left(new AlreadyOpen({ owner: state.owner })),
    Deposit: (state, { amount }) =>
      state.owner === null ? Either.left(new NotOpen()) : Either.right([new Deposited({ amount })]),
    Withdraw: (state, { amount }) => {
      if (state.owner === null) return Either.left(new NotOpen())
      return state.balance < amount
        ? Either.left(new InsufficientFunds({ balance: state.balance }))
        : Either.right([new Withdrawn({ amount })])
    }
  }
})

export class Accounts extends Context.Tag("bank/Accounts")<Accounts, Repository.Repository<typeof Account>>() {}

/** The account is at another version than the one that the client saw. */
class Outdated extends Schema.TaggedError<Outdated>()(
  "Outdated",
  { version: Schema.Int },
  HttpApiSchema.annotations({ status: 412 })
) {}

/** The command may have been stored or not: the client repeats it with the same key, under which it counts once. */
class TryAgain extends Schema.TaggedError<TryAgain>()(
  "TryAgain",
  { mayHaveHappened: Schema.Boolean },
  HttpApiSchema.annotations({ status: 503 })
) {}

const id = HttpApiSchema.param("id", Schema.String)

const Answer = Schema.Struct({ version: Schema.Int, balance: Schema.Int, duplicate: Schema.Boolean })

const accounts = HttpApiGroup.make("accounts")
  .add(
    HttpApiEndpoint.get("get")`/accounts/${id}`
      .addSuccess(Schema.Struct({ version: Schema.Int, state: Account.schemas.state }))
      .addError(HttpApiError.NotFound)
  )
  .add(
    HttpApiEndpoint.post("send")`/accounts/${id}`
      .setHeaders(Schema.Struct({
        "idempotency-key": Schema.optional(Schema.String),
        // the number of a version; an entity tag of HTTP would be in quotes
        "if-match": Schema.optional(Schema.NumberFromString)
      }))
      .setPayload(Account.schemas.command)
      .addSuccess(Answer)
      .addError(Account.schemas.rejection)
      .addError(Outdated)
  )
  .addError(HttpApiError.BadRequest)
  .addError(HttpApiError.Gone)
  .addError(TryAgain)
  .addError(HttpApiError.InternalServerError)

export class Api extends HttpApi.make("bank").add(accounts) {}

// Each error of the library gets a status. The rejections of the aggregate are not named here: they stay as they are

const badRequest = () => Effect.fail(new HttpApiError.BadRequest())

const fault = (error: { readonly message: string }) =>
  Effect.zipRight(Effect.logError(error.message), Effect.fail(new HttpApiError.InternalServerError()))

const ofLoad = {
  EventDecodeError: fault,
  EventStoreError: (error: EventStore.EventStoreError) =>
    error.reason === "InvalidInput"
      ? badRequest()
      : Effect.zipRight(
        Effect.logWarning(error.message),
        Effect.fail(new TryAgain({ mayHaveHappened: error.mayHaveAppended }))
      ),
  HistoryGap: fault,
  HistoryRewritten: () => Effect.fail(new TryAgain({ mayHaveHappened: false })),
  IdEncodeError: badRequest,
  ReplayTooLong: () => Effect.fail(new TryAgain({ mayHaveHappened: false })),
  StreamDeleted: () => Effect.fail(new HttpApiError.Gone())
}

const ofExecute = {
  ...ofLoad,
  EventEncodeError: fault,
  InlineProjectionError: fault,
  InvalidCommand: badRequest,
  InvalidCommandId: badRequest
}

// a client that expects no version is never outdated: other writers won at each attempt
const ofConflict = (seen: number | undefined) => ({ actual }: EventStore.VersionConflict) =>
  Effect.fail(seen === undefined ? new TryAgain({ mayHaveHappened: false }) : new Outdated({ version: actual }))

const handlers = HttpApiBuilder.group(Api, "accounts", (handlers) =>
  handlers
    .handle("get", ({ path }) =>
      Effect.gen(function*() {
        const accounts = yield* Accounts
        const { exists, state, version } = yield* Effect.catchTags(accounts.load(path.id), ofLoad)
        if (!exists) return yield* new HttpApiError.NotFound()
        return { version, state }
      }))
    .handle("send", ({ headers, path, payload }) =>
      Effect.gen(function*() {
        const accounts = yield* Accounts
        const seen = headers["if-match"]
        const { duplicate, state, version } = yield* accounts.execute(path.id, payload, {
          commandId: headers["idempotency-key"],
          expectedVersion: seen === undefined ? undefined : ExpectedVersion.exact(seen)
        })
        return { version, balance: state.balance, duplicate }
      }).pipe(
        Effect.catchTag("VersionConflict", ofConflict(headers["if-match"])),
        Effect.catchTags(ofExecute)
      )))

/** The API with the repository that it needs. The stores are chosen by the program. */
export const ApiLive = HttpApiBuilder.api(Api).pipe(
  Layer.provide(handlers),
  Layer.provide(Repository.layer(Accounts, Account))
)

/**
 * A handler of web requests, for any server that has them. With @effect/platform-node, `HttpApiBuilder.serve()` takes
 * `ApiLive` as it is.
 */
export const webHandler = <E>(stores: Layer.Layer<EventStore.EventStore | SnapshotStore.SnapshotStore, E>) =>
  HttpApiBuilder.toWebHandler(Layer.merge(Layer.provide(ApiLive, stores), HttpServer.layerContext))
