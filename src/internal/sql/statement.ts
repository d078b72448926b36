import type * as Statement from "@effect/sql/Statement"
import { note } from "./postgres/preparedTexts.js"

/**
 * A statement that is compiled once: the client does it again at every run.
 *
 * @internal
 */
export interface FixedStatement<in Options> {
  readonly text: string
  readonly params: (options: Options) => ReadonlyArray<unknown>
}

/**
 * One whose text is written with the placeholders of PostgreSQL: there it can be prepared by name.
 *
 * @internal
 */
export const of = <Options>(statement: FixedStatement<Options>): FixedStatement<Options> => {
  note(statement.text)
  return statement
}

/**
 * What stands in the statement in the place of a value.
 *
 * @internal
 */
export type Parameter<out Options> = (value: (options: Options) => unknown) => string

/**
 * One for SQLite, whose placeholders are not numbered: a value that stands in two places is given twice.
 *
 * @internal
 */
export const make = <Options>(
  build: (parameter: Parameter<Options>) => Statement.Statement<object>
): FixedStatement<Options> => {
  const values = new Map<unknown, (options: Options) => unknown>()
  const [text, markers] = build((value) => {
    const marker = `parameter ${values.size}`
    values.set(marker, value)
    return marker
  }).compile()
  const inOrder = markers.flatMap((marker) => values.get(marker) ?? [])
  return { text, params: (options) => inOrder.map((value) => value(options)) }
}

/**
 * The statements whose texts differ in something, such as the number in a LIMIT, by a key that says it.
 *
 * @internal
 */
export const byKey = <Key, A>(): (key: Key, make: () => A) => A => {
  const made = new Map<Key, A>()
  return (key, make) => {
    const found = made.get(key)
    if (found !== undefined) return found
    if (made.size === most) made.clear()
    const value = make()
    made.set(key, value)
    return value
  }
}

const most = 64
