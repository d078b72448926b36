import * as ParseResult from "effect/ParseResult"
import { sqlErrorText } from "../driverText.js"
import { cut } from "../text.js"
import { formatPath } from "./json.js"

/**
 * Describes a failure for a message or a log line. For a value that a schema rejects it names the place and the expected
 * schema, but never the value or a text that the schema made of it. Those are in the `cause` of the error.
 */
export const reason = (cause: unknown): string => {
  try {
    return cut(ParseResult.isParseError(cause) ? objections(cause) : textOf(cause), most)
  } catch {
    // a getter throws, or the issue is nested more deeply than the stack allows
    return "the reason cannot be printed"
  }
}

const most = 500

const textOf = (cause: unknown): string => {
  if (typeof cause !== "object" || cause === null) return String(cause)
  const { _tag, message, name }: Record<string, unknown> = {
    _tag: Reflect.get(cause, "_tag"),
    message: Reflect.get(cause, "message"),
    name: Reflect.get(cause, "name")
  }
  const text = [sqlErrorText(cause), message, _tag, name].find((text) => typeof text === "string" && text !== "")
  return text === undefined ? "a failure without a message" : String(text)
}

const objections = (error: ParseResult.ParseError): string => {
  const found = new Set<string>()
  collect(error.issue, [], found)
  const shown = Array.from(found).slice(0, mostObjections)
  return shown.join("; ") + (found.size > shown.length ? `; and ${found.size - shown.length} more` : "")
}

const mostObjections = 5

const collect = (issue: ParseResult.ParseIssue, path: ReadonlyArray<PropertyKey>, found: Set<string>): void => {
  const object = (text: string) => {
    found.add(`${formatPath(path)} ${text}`)
  }
  const expected = (ast: { readonly toString: () => string }) => object(`must be ${cut(String(ast), mostExpected)}`)
  switch (issue._tag) {
    case "Pointer": {
      const keys = typeof issue.path === "object" ? issue.path : [issue.path]
      return collect(issue.issue, [...path, ...keys], found)
    }
    case "Missing":
      return object("is missing")
    case "Unexpected":
      return object("is a key that the schema does not have")
    case "Type": {
      const told = toldBy(issue)
      return told === undefined ? expected(issue.ast) : object(told)
    }
    case "Forbidden":
      return object("needs an effect or a service: schemas of aggregates are synchronous")
    case "Refinement":
      return issue.kind === "From" || inPlace(issue.issue)
        ? collect(issue.issue, path, found)
        : expected(issue.ast)
    case "Transformation":
      return issue.kind !== "Transformation" || inPlace(issue.issue)
        ? collect(issue.issue, path, found)
        : expected(issue.ast)
    case "Composite": {
      const issues: ReadonlyArray<ParseResult.ParseIssue> = "_tag" in issue.issues ? [issue.issues] : issue.issues
      if (issue.ast._tag === "Union" && !issues.some(inPlace)) return expected(issue.ast)
      for (const inner of issues) collect(inner, path, found)
    }
  }
}

/** Whether an issue names a place inside the value. */
const inPlace = (issue: ParseResult.ParseIssue): boolean => {
  switch (issue._tag) {
    case "Pointer":
      return true
    case "Type":
      return toldBy(issue) !== undefined
    case "Refinement":
    case "Transformation":
      return inPlace(issue.issue)
    case "Composite":
      return "_tag" in issue.issues ? inPlace(issue.issues) : issue.issues.some(inPlace)
    default:
      return false
  }
}

const mostExpected = 120

/** The beginning of an issue's message if the schema threw. */
export const threw = "the schema threw"

/** The message of an issue with personal data that was not opened. */
export const unopened =
  "is sealed personal data that no key opens: the layers of the stores need Personal.layer, with " +
  "the key store that has its keys"

/** What an issue says instead of the schema that its value does not match. */
const toldBy = ({ message }: ParseResult.Type): string | undefined =>
  message === unopened ? unopened : message?.startsWith(threw) === true ? threw : undefined
