/** Writes a program of many aggregates, as users write them, to measure what the types of the library cost. */

export interface Form {
  readonly aggregates: number
  readonly events: number
  readonly commands: number
  /** `Schema.TaggedClass` or `Schema.TaggedStruct`. */
  readonly schemas: "class" | "struct"
  /** Everything, or the schemas alone. */
  readonly parts: "all" | "schemas"
}

const range = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

const fields = (n: number): string =>
  ["amount: Schema.Int", "at: Schema.Date", `note${n}: Schema.optional(Schema.String)`].join(", ")

const schema = (form: Form, name: string, tag: string, fields: string): string =>
  form.schemas === "class"
    ? `export class ${name} extends Schema.TaggedClass<${name}>()("${tag}", { ${fields} }) {}`
    : `export const ${name} = Schema.TaggedStruct("${tag}", { ${fields} })`

const aggregate = (form: Form, n: number): string => {
  const a = `Account${n}`
  const events = range(form.events).map((e) => `${a}Event${e}`)
  const commands = range(form.commands).map((c) => `${a}Command${c}`)
  const state = "balance: Schema.Int, notes: Schema.Array(Schema.String), last: Schema.optional(Schema.Date)"
  const schemas = [
    `export const ${a}Id = Schema.String.pipe(Schema.brand("${a}Id"))`,
    ...events.map((name, i) => schema(form, name, `Event${i + 1}`, fields(i + 1))),
    ...commands.map((name, i) => schema(form, name, `Command${i + 1}`, "amount: Schema.Int, at: Schema.Date")),
    `export const ${a}Event = Schema.Union(${events.join(", ")})`,
    `export const ${a}Command = Schema.Union(${commands.join(", ")})`,
    form.schemas === "class"
      ? `export class ${a}State extends Schema.Class<${a}State>("${a}State")({ ${state} }) {}`
      : `export const ${a}State = Schema.Struct({ ${state} })`,
    `export class ${a}Refused extends Data.TaggedError("Refused${n}")<{ readonly by: number }> {}`
  ]
  if (form.parts === "schemas") return schemas.join("\n")
  const made = (name: string, i: number) =>
    form.schemas === "class"
      ? `new ${name}({ amount: command.amount, at: command.at })`
      : `{ _tag: "Event${i}", amount: command.amount, at: command.at }`
  const next = (change: string) =>
    form.schemas === "class" ? `new ${a}State({ ...state, ${change} })` : `{ ...state, ${change} }`
  return [
    ...schemas,
    `export const ${a} = Aggregate.make({`,
    `  name: "${a}",`,
    `  id: ${a}Id,`,
    `  state: ${a}State,`,
    `  event: ${a}Event,`,
    `  command: ${a}Command,`,
    `  initial: () => ${
      form.schemas === "class" ? `new ${a}State({ balance: 0, notes: [] })` : "({ balance: 0, notes: [] })"
    },`,
    `  evolve: (state, event) => {`,
    `    switch (event._tag) {`,
    ...events.map((_, i) =>
      `      case "Event${i + 1}":\n        return ${
        next(`balance: state.balance + event.amount, notes: [...state.notes, event.note${i + 1} ?? ""]`)
      }`
    ),
    `    }`,
    `  },`,
    `  decide: (state, command) => {`,
    `    switch (command._tag) {`,
    ...commands.map((_, i) =>
      `      case "Command${
        i + 1
      }":\n        return state.balance > command.amount\n          ? Either.left(new ${a}Refused({ by: ${i} }))\n          : Either.right([${
        made(events[i], i + 1)
      }, ${made(events[i + form.commands], i + 1 + form.commands)}])`
    ),
    `    }`,
    `  }`,
    `})`,
    `export class ${a}s extends Context.Tag("${a}s")<${a}s, Repository.Repository<typeof ${a}>>() {}`,
    `export const ${a}sLive = Repository.layer(${a}s, ${a}, { snapshots: SnapshotPolicy.background({ every: 100 }) })`,
    `export const use${n} = Effect.gen(function*() {`,
    `  const accounts = yield* ${a}s`,
    `  const id = ${a}Id.make("a")`,
    `  const { state } = yield* accounts.execute(id, ${
      form.schemas === "class"
        ? `new ${commands[0]}({ amount: 1, at: new Date() })`
        : `{ _tag: "Command1", amount: 1, at: new Date() }`
    })`,
    `  const loaded = yield* accounts.load(id)`,
    `  return state.balance + loaded.state.balance`,
    `}).pipe(Effect.catchTag("Refused${n}", (refused) => Effect.succeed(refused.by)), Effect.provide(${a}sLive))`
  ].join("\n")
}

export const generate = (form: Form): string =>
  [
    form.parts === "schemas"
      ? `import { Data, Schema } from "effect"`
      : `import { Context, Data, Effect, Either, Schema } from "effect"\n` +
        `import { Aggregate, Repository, SnapshotPolicy } from "effect-eventsourcing"`,
    ...range(form.aggregates).map((n) => aggregate(form, n)),
    ""
  ].join("\n")
