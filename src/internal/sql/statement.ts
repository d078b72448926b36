// Statements with `:names` where values stand, for SQLite and PostgreSQL. A statement is prepared once: the names become the
// placeholders of the database, and their order is kept. To run it costs one array.

/** A text with the placeholders of a database, and the values for them. */
export interface Query {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

/** Gives a statement its values. */
export interface Statement {
  (values: Readonly<Record<string, unknown>>): Query
}

/** Makes a statement of a text. */
export interface Write {
  (text: string): Statement
}

const make = (placeholder: (name: string, order: Array<string>) => string): Write => (named) => {
  const order: Array<string> = []
  // a cast of PostgreSQL (`::text`) is not a name
  const text = named.replaceAll(/(?<!:):([a-z]\w*)/gi, (_, name: string) => placeholder(name, order))
  return (values) => ({ text, params: order.map((name) => values[name]) })
}

/** SQLite counts `?`: a value that stands in two places is given twice. */
export const sqlite = make((name, order) => {
  order.push(name)
  return "?"
})

export const postgres = make((name, order) => {
  if (!order.includes(name)) order.push(name)
  return `$${order.indexOf(name) + 1}`
})

/** Keeps the statements of a text that depends on the options, by what it depends on. */
export const byShape = <Options>(
  shapeOf: (options: Options) => string | number,
  statementOf: (options: Options) => Statement
): (options: Options) => Statement => {
  const statements = new Map<string | number, Statement>()
  return (options) => {
    const shape = shapeOf(options)
    const found = statements.get(shape)
    if (found !== undefined) return found
    if (statements.size === mostShapes) statements.clear()
    const statement = statementOf(options)
    statements.set(shape, statement)
    return statement
  }
}

const mostShapes = 64
