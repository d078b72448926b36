// The projections and the subscription that are simulated, with handlers that fail as the trouble of an event says.
import { Clock, Effect, Either, Schema } from "effect"
import type { Subject } from "../simulation.js"
import { forever } from "../virtual.js"
import { gate, type Process, step } from "./faults.js"
import { type Definition, deliver, type Fed, type Key, rowsOf, textOf, type World, write, wrong } from "./world.js"

const aggregates = (subject: Subject) => {
  const shared = { id: Schema.String, state: Schema.Int, initial: () => 0 } as const
  const Ledger = subject.Aggregate.make({
    ...shared,
    name: "Ledger",
    event: Schema.Union(
      Schema.TaggedStruct("Added", { n: Schema.Int }),
      Schema.TaggedStruct("Noted", { n: Schema.Int })
    ),
    command: Schema.TaggedStruct("Add", {}),
    evolve: (state) => state,
    decide: () => Either.right([])
  })
  const Meter = subject.Aggregate.make({
    ...shared,
    name: "Meter",
    event: Schema.TaggedStruct("Ticked", { n: Schema.Int }),
    command: Schema.TaggedStruct("Tick", {}),
    evolve: (state) => state,
    decide: () => Either.right([])
  })
  return { Ledger, Meter }
}

const made = new WeakMap<Subject, ReturnType<typeof aggregates>>()

const aggregatesOf = (subject: Subject) => {
  const all = made.get(subject) ?? aggregates(subject)
  made.set(subject, all)
  return all
}

/** What an appended event may be: its stream and its type. */
export const kinds = [
  { aggregate: "Ledger", type: "Added" },
  { aggregate: "Ledger", type: "Added" },
  { aggregate: "Ledger", type: "Noted" },
  { aggregate: "Meter", type: "Ticked" }
] as const

export const definitions = (poisons: ReadonlyArray<Definition["poison"]>): ReadonlyMap<string, Definition> =>
  new Map<string, Definition>([
    ["sums", {
      name: "sums",
      kind: "Projection",
      poison: poisons[0],
      wants: ({ type }) => type === "Added",
      // the store leaves out events that are not wanted, so that it does not matter whether they decode
      reads: ({ stream, type }) => stream.aggregate === "Ledger" && type !== "Noted"
    }],
    ["all", { name: "all", kind: "Projection", poison: poisons[1], wants: () => true, reads: () => true }],
    ["mails", {
      name: "mails",
      kind: "Subscription",
      poison: poisons[2],
      wants: ({ type }) => type !== "Noted",
      reads: ({ type }) => type !== "Noted"
    }]
  ])

/** Fails as the trouble of the event says. */
const meet = (world: World, key: Key, event: Fed): Effect.Effect<void, unknown> =>
  Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<void, unknown> => {
    const trouble = world.troubles.get(event.id)
    if (trouble === undefined || world.repaired) return Effect.void
    switch (trouble.kind) {
      case "Unreadable":
        return Effect.sync(() => wrong(world, `${textOf(key)} was given ${event.id}, which does not decode`))
      case "Outage":
        return now < trouble.until ? outage(world) : Effect.void
      case "Flaky":
        if (trouble.left <= 0) return Effect.void
        trouble.left -= 1
    }
    const name = `${textOf(key)} ${event.id}`
    const fails = (world.fails.get(name) ?? 0) + 1
    world.fails.set(name, fails)
    // at the end it would take too long
    switch (world.calm && trouble.how === "hang" ? "fail" : trouble.how) {
      case "fail":
        return Effect.fail(new Error("cannot be handled"))
      case "die":
        return Effect.die("cannot be handled")
      case "throw":
        throw new Error("cannot be handled")
      case "hang":
        return forever
    }
  })

/** A failure that passes by itself, as the parts of a service tell it. */
const outage = (world: World): Effect.Effect<never, unknown> => {
  const { CheckpointStore, EventStore } = world.subject
  const deadlock = {
    _tag: "SqlError",
    cause: Object.assign(new Error("deadlock"), { code: "40P01", severity: "ERROR" })
  }
  const away = { reason: "Unavailable", detail: "away" } as const
  switch (world.dice.number(6)) {
    case 0:
      return Effect.fail(deadlock)
    case 1:
      return Effect.fail(Object.assign(new Error("connect"), { code: "ECONNREFUSED" }))
    case 2:
      return Effect.fail(
        new CheckpointStore.CheckpointStoreError({ ...away, operation: "list", mayHaveHappened: false })
      )
    case 3:
      return Effect.fail(
        new EventStore.EventStoreError({
          ...away,
          operation: "append",
          mayHaveAppended: false,
          cause: new Error("away")
        })
      )
    case 4:
      // a program that does not expect errors of its database
      return Effect.die(deadlock)
    default:
      return Effect.fail(new Error("wrapped", { cause: deadlock }))
  }
}

const fedOf = (world: World, id: string): Fed => world.feed.find((event) => event.id === id)!

/** What the definitions of one process do. */
export const parts = (world: World, process: Process) => {
  const { Projection, Subscription } = world.subject
  const { Ledger, Meter } = aggregatesOf(world.subject)

  const insert = (key: Key) => ({ id }: { readonly id: string }) =>
    Effect.gen(function*() {
      const event = fedOf(world, id)
      yield* Effect.suspend(() => meet(world, key, event))
      yield* write(() => void rowsOf(world.tables, key).push(event))
      if (world.dice.chance(0.2)) yield* step(world, process)
    })

  const sums = (version: number) =>
    Projection.make({
      name: "sums",
      version,
      on: [Projection.only(Ledger, ["Added"])],
      handle: (events) =>
        Effect.zipRight(
          step(world, process),
          Effect.forEach(events, insert({ name: "sums", version }), { discard: true })
        )
    })

  const all = (version: number) => {
    const handler = insert({ name: "all", version })
    return Projection.makeByTag({
      name: "all",
      version,
      on: [Ledger, Meter],
      handlers: { Ledger: { Added: handler, Noted: handler }, Meter: { Ticked: handler } }
    })
  }

  const mails = (from: "start" | "now") => {
    const key = { name: "mails", version: 1 }
    const handler = ({ id }: { readonly id: string }) =>
      Effect.gen(function*() {
        const event = fedOf(world, id)
        yield* step(world, process)
        yield* Effect.suspend(() => meet(world, key, event))
        yield* gate(process)
        yield* Effect.sync(() => deliver(world, key, event))
        yield* step(world, process)
      })
    return Subscription.makeByTag({
      name: "mails",
      on: [Projection.only(Ledger, ["Added"]), Meter],
      from,
      handlers: { Ledger: { Added: handler }, Meter: { Ticked: handler } }
    })
  }

  return { sums, all, mails }
}
