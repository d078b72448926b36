import type * as Aggregate from "../../Aggregate.js"

/** The types of an aggregate. In the signatures of this room, one type parameter stands for all of them. */
export interface Types {
  readonly Id: unknown
  readonly State: unknown
  readonly Event: unknown
  readonly Command: unknown
  readonly Rejection: unknown
}

export interface TypesOf<Id, State, Event, Command, Rejection = unknown> extends Types {
  readonly Id: Id
  readonly State: State
  readonly Event: Event
  readonly Command: Command
  readonly Rejection: Rejection
}

type AggregateOf<T extends Types> = Aggregate.Aggregate<
  string,
  T["Id"],
  T["State"],
  T["Event"],
  T["Command"],
  T["Rejection"]
>

/** An aggregate, compared by its members. */
export interface Subject<T extends Types> extends Pick<AggregateOf<T>, keyof AggregateOf<T>> {}

/** A run of an aggregate: commands that are decided in turn, then events that happen without a decision. */
export interface History<out T extends Types> {
  readonly id: T["Id"]
  readonly commands: ReadonlyArray<T["Command"]>
  readonly events: ReadonlyArray<T["Event"]>
}

export const lengthOf = ({ commands, events }: History<Types>): number => commands.length + events.length

export const subjectOf = <Name extends string, Id, State, Event, Command, Rejection>(
  aggregate: Aggregate.Aggregate<Name, Id, State, Event, Command, Rejection>
): Subject<TypesOf<Id, State, Event, Command, Rejection>> => aggregate
