import type * as Aggregate from "../../Aggregate.js"

/**
 * An aggregate, compared by its members: the modules of this room need not name the type parameters that they do not
 * use.
 */
export interface Subject<in out Id, in out State, in out Event, in out Command, out Rejection = unknown> extends
  Pick<
    Aggregate.Aggregate<string, Id, State, Event, Command, Rejection>,
    keyof Aggregate.Aggregate<string, Id, State, Event, Command, Rejection>
  >
{}

/** A run of an aggregate: commands that are decided in turn, then events that happen without a decision. */
export interface History<out Id, out Command, out Event> {
  readonly id: Id
  readonly commands: ReadonlyArray<Command>
  readonly events: ReadonlyArray<Event>
}

export const lengthOf = ({ commands, events }: History<unknown, unknown, unknown>): number =>
  commands.length + events.length
