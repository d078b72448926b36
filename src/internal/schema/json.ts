import * as Either from "effect/Either"

export interface NotJson {
  readonly path: string
  readonly reason: string
}

/**
 * Writes a value as JSON if `JSON.parse` gives an equal value back. Values that `JSON.stringify` would change without a
 * message (NaN, infinities, holes, dates, maps, bigints) are refused with their path. A negative zero is written as
 * `-0`, which `JSON.parse` reads back.
 */
export const stringify = (value: unknown): Either.Either<string, NotJson> => {
  const walk: Walk = { path: [], negativeZero: false }
  try {
    const reason = problem(value, walk)
    if (reason !== undefined) {
      return Either.left({ path: formatPath(walk.path), reason })
    }
    return Either.right(walk.negativeZero ? write(value) : JSON.stringify(value))
  } catch (error) {
    // an accessor of the program may throw
    return Either.left(
      overflow(error, value) ?? { path: "$", reason: "cannot be read: an accessor, or what stands in for one, throws" }
    )
  }
}

/** Explains a `RangeError`: a cycle, a value that is too deep, or a text that is too long. Else `undefined`. */
export const overflow = (error: unknown, value: unknown): NotJson | undefined => {
  if (!(error instanceof RangeError)) return undefined
  const found = cycle(value)
  if (found !== undefined) return found
  return { path: "$", reason: tooLong.test(error.message) ? "is longer, as JSON, than any text can be" : tooDeep }
}

/** Finds where a value refers back to itself. It uses no stack, so that the value may be nested deeply. */
export const cycle = (value: unknown): NotJson | undefined => {
  interface Visit {
    readonly value: object
    readonly key: PropertyKey
    readonly rest: Iterator<[string, unknown]>
  }
  const open = new Map<object, number>()
  const done = new Set<object>()
  const visits: Array<Visit> = []
  const enter = (value: unknown, key: PropertyKey) => {
    if (typeof value !== "object" || value === null || done.has(value)) return undefined
    const seen = open.get(value)
    if (seen !== undefined) return seen
    open.set(value, visits.length)
    visits.push({ value, key, rest: Object.entries(value)[Symbol.iterator]() })
    return undefined
  }
  const pathTo = (depth: number) => visits.slice(1, depth + 1).map(({ key }) => key)
  try {
    enter(value, "")
    for (let top = visits.at(-1); top !== undefined; top = visits.at(-1)) {
      const next = top.rest.next()
      if (next.done === true) {
        done.add(top.value)
        open.delete(top.value)
        visits.pop()
        continue
      }
      const [name, field] = next.value
      const key = Array.isArray(top.value) ? Number(name) : name
      const seen = enter(field, key)
      if (seen === undefined) continue
      const path = [...pathTo(visits.length - 1), key]
      return {
        path: formatPath(path),
        reason: `refers back to ${formatPath(pathTo(seen))}, which JSON cannot hold`
      }
    }
    return undefined
  } catch {
    return undefined
  }
}

const tooLong = /string length/i

const tooDeep = "is nested too deeply for JSON"

/** Parses JSON. The error names a position only, because the engine's own message quotes the text. */
export const parse = (text: string): Either.Either<unknown, SyntaxError> => {
  try {
    return Either.right(JSON.parse(text))
  } catch (error) {
    const position = / in JSON at position (\d+)(?: \(line \d+ column \d+\))?$/.exec(String(error))?.[1]
    return Either.left(
      new SyntaxError(`it is not JSON${position === undefined ? "" : `, from position ${position} on`}`)
    )
  }
}

interface Walk {
  readonly path: Array<string | number>
  negativeZero: boolean
}

const problem = (value: unknown, walk: Walk): string | undefined => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined
    case "number":
      if (!Number.isFinite(value)) return `is ${value}, which JSON cannot hold`
      if (Object.is(value, -0)) walk.negativeZero = true
      return undefined
    case "object": {
      if (value === null) return undefined
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) {
          const reason = problem(value[i], walk)
          if (reason !== undefined) {
            walk.path.unshift(i)
            return reason
          }
        }
        return undefined
      }
      const prototype = Object.getPrototypeOf(value)
      if (prototype !== Object.prototype && prototype !== null) {
        return `is a ${prototype.constructor?.name ?? "class"} object, which JSON cannot hold`
      }
      for (const [key, field] of Object.entries(value)) {
        // an absent optional field: JSON leaves it out, and so does decoding
        if (field === undefined) continue
        const reason = problem(field, walk)
        if (reason !== undefined) {
          walk.path.unshift(key)
          return reason
        }
      }
      return undefined
    }
    default:
      return `is ${typeof value === "undefined" ? "undefined" : `a ${typeof value}`}, which JSON cannot hold`
  }
}

const write = (value: unknown): string => {
  if (Object.is(value, -0)) return "-0"
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`
  const fields: Array<string> = []
  for (const [key, field] of Object.entries(value)) {
    if (field !== undefined) fields.push(`${JSON.stringify(key)}:${write(field)}`)
  }
  return `{${fields.join(",")}}`
}

const identifier = /^[A-Za-z_$][\w$]*$/

export const formatPath = (path: ReadonlyArray<PropertyKey>): string =>
  path.reduce<string>(
    (text, key) =>
      typeof key === "string" && identifier.test(key)
        ? `${text}.${key}`
        : `${text}[${typeof key === "symbol" ? String(key) : JSON.stringify(key)}]`,
    "$"
  )
