// Writes statements with `:names` where values stand, for SQLite and PostgreSQL. At the first run of a text the names become
// the placeholders of the database, and their order is kept. Every other run costs one array.

/** A text with the placeholders of a database, and the values for them. */
export interface Query {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

/** Gives a statement its values. */
export interface Write {
  (text: string, values: Readonly<Record<string, unknown>>): Query
}

const make = (placeholder: (name: string, order: Array<string>) => string): Write => {
  const compiled = new Map<string, { readonly text: string; readonly order: ReadonlyArray<string> }>()
  return (text, values) => {
    let found = compiled.get(text)
    if (found === undefined) {
      const order: Array<string> = []
      // a cast of PostgreSQL (`::text`) is not a name
      found = { text: text.replaceAll(/(?<!:):([a-z]\w*)/gi, (_, name: string) => placeholder(name, order)), order }
      if (compiled.size === most) compiled.clear()
      compiled.set(text, found)
    }
    return { text: found.text, params: found.order.map((name) => values[name]) }
  }
}

const most = 256

/** SQLite counts `?`: a value that stands in two places is given twice. */
export const sqlite = make((name, order) => {
  order.push(name)
  return "?"
})

export const postgres = make((name, order) => {
  if (!order.includes(name)) order.push(name)
  return `$${order.indexOf(name) + 1}`
})
