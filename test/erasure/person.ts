// An aggregate with personal data in its events, its state, its commands and its rejections.
import { Either, Option, Schema } from "effect"
import { Aggregate, Personal } from "effect-eventsourcing"

const Name = Personal.schema(Schema.String, Schema.String)

const Address = Personal.schema(Schema.String, Schema.Struct({ street: Schema.String, since: Schema.Date }))

const Registered = Schema.TaggedStruct("Registered", { name: Name })
const Moved = Schema.TaggedStruct("Moved", { address: Address })
const Visited = Schema.TaggedStruct("Visited", {})

/** Shows its field in its message, as errors of schemas do. */
export class Refused extends Schema.TaggedError<Refused>()("Refused", { name: Name }) {}

export const Person = Aggregate.make({
  name: "Person",
  id: Schema.String,
  state: Schema.Struct({
    name: Schema.OptionFromNullOr(Name),
    address: Schema.OptionFromNullOr(Address),
    visits: Schema.Int
  }),
  event: Schema.Union(Registered, Moved, Visited),
  command: Schema.Union(
    Schema.TaggedStruct("Register", { name: Name, how: Schema.Literal("soundly", "refused", "dying") }),
    Schema.TaggedStruct("Move", { address: Address }),
    Schema.TaggedStruct("Visit", {})
  ),
  rejection: Refused,
  initial: () => ({ name: Option.none(), address: Option.none(), visits: 0 }),
  evolve: {
    Registered: (state, { name }) => ({ ...state, name: Option.some(name) }),
    Moved: (state, { address }) => ({ ...state, address: Option.some(address) }),
    Visited: (state) => ({ ...state, visits: state.visits + 1 })
  },
  decide: {
    Register: (_, { how, name }) => {
      if (how === "refused") return Either.left(new Refused({ name }))
      if (how === "dying" && name._tag === "Present") throw new RangeError(`${name.value} makes decide die`)
      return Either.right([Registered.make({ name })])
    },
    Move: (_, { address }) => Either.right([Moved.make({ address })]),
    Visit: () => Either.right([Visited.make()])
  }
})
