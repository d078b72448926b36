import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as AST from "effect/SchemaAST"
import { threw, unopened } from "./reason.js"
import * as Visits from "./visits.js"

/** The key that marks personal data in JSON. */
export const personalMarker = "$personal"

/** The name under which the schema of personal data is declared. */
export const personalTag = "effect-eventsourcing/Personal"

/**
 * Tests whether a value of this schema, or a part of it, is `Redacted` or personal data. Its encoded form is a secret,
 * too.
 */
export const holdsSecret = (ast: AST.AST): boolean => {
  const known = found.get(ast)
  if (known !== undefined) return known
  const holds = search(ast, isSecret, Visits.make())
  found.set(ast, holds)
  return holds
}

/** Tests whether a value of this schema, or a part of it, is personal data. */
export const holdsPersonal = (ast: AST.AST): boolean => search(ast, isPersonal, Visits.make())

/** Tests whether the events or the states of an aggregate have personal data. */
export const concernsPersons = ({ event, state }: {
  readonly event: { readonly schema: { readonly ast: AST.AST } }
  readonly state: { readonly schema: { readonly ast: AST.AST } }
}): boolean => holdsPersonal(event.schema.ast) || holdsPersonal(state.schema.ast)

/** Removes the values of secrets from a parse error, and texts made of them. Other values stay. */
export const withoutSecrets = (error: ParseResult.ParseError): ParseResult.ParseError => {
  const { issue } = error
  // only the issues of places inside a value have no schema
  return issue._tag !== "Missing" && "ast" in issue && isShown(issue)
    ? ParseResult.parseError(hide(issue, false))
    : error
}

/** Whether an issue shows a secret: by its schema, or because its value is personal data under a schema without it. */
const isShown = ({ actual, ast }: { readonly actual: unknown; readonly ast: AST.AST }): boolean =>
  holdsSecret(ast) || marksPersonal(actual)

/**
 * Whether a value, or a part of it, is marked as personal data. The value may be anything: a loop takes one of any
 * depth, and what cannot be read, or has no end, counts as personal data.
 */
const marksPersonal = (value: unknown): boolean => {
  const seen = new Set<unknown>()
  const left = [value]
  try {
    while (left.length > 0) {
      const part = left.pop()
      if (typeof part !== "object" || part === null || ArrayBuffer.isView(part) || seen.has(part)) continue
      if (isMarked(part) || seen.add(part).size > mostParts) return true
      for (const inner of Object.values(part)) left.push(inner)
    }
    return false
  } catch {
    return true
  }
}

const mostParts = 100_000

const isMarked = (value: unknown): boolean => Predicate.hasProperty(value, personalMarker)

const found = new WeakMap<AST.AST, boolean>()

type Test = (ast: AST.Declaration) => boolean

const search = (ast: AST.AST, test: Test, isFirst: (ast: AST.AST) => boolean): boolean => {
  if (!isFirst(ast)) return false
  return (ast._tag === "Declaration" && test(ast)) || Visits.partsOf(ast).some((part) => search(part, test, isFirst))
}

const isDeclaredAs = (...tags: ReadonlyArray<unknown>): Test => (ast) =>
  Option.exists(
    AST.getTypeConstructorAnnotation(ast),
    (constructor) => typeof constructor === "object" && "_tag" in constructor && tags.includes(constructor._tag)
  )

const isSecret = isDeclaredAs("effect/Redacted", personalTag)

const isPersonal = isDeclaredAs(personalTag)

// stands for the value
const hidden = "<redacted>"

const hide = (issue: ParseResult.ParseIssue, within: boolean): ParseResult.ParseIssue => {
  switch (issue._tag) {
    // the value around the place contains the secret
    case "Pointer":
      return new ParseResult.Pointer(issue.path, hidden, hide(issue.issue, within))
    case "Unexpected":
      return new ParseResult.Unexpected(hidden)
    case "Missing":
      return issue
    case "Type":
    case "Forbidden":
      return within || isShown(issue)
        ? new ParseResult[issue._tag](issue.ast, hidden, issue.message?.startsWith(threw) === true ? threw : undefined)
        : issue
    case "Refinement": {
      if (!within && !isShown(issue)) return issue
      return new ParseResult.Refinement(issue.ast, hidden, issue.kind, hide(issue.issue, opens(issue, within)))
    }
    case "Transformation": {
      if (isUnopened(issue)) return new ParseResult.Type(issue.ast, hidden, unopened)
      if (!within && !isShown(issue)) return issue
      return new ParseResult.Transformation(issue.ast, hidden, issue.kind, hide(issue.issue, opens(issue, within)))
    }
    case "Composite": {
      if (!within && !isShown(issue)) return issue
      const issues = Array.isArray(issue.issues) ? issue.issues : [issue.issues]
      const [first, ...rest] = issues.map((inner) => hide(inner, opens(issue, within)))
      return new ParseResult.Composite(issue.ast, hidden, [first, ...rest])
    }
  }
}

/** Whether personal data is still as a store sealed it. */
const isUnopened = ({ actual, ast }: ParseResult.Transformation): boolean =>
  ast.to._tag === "Declaration" && isPersonal(ast.to) && Predicate.hasProperty(actual, "sealed") &&
  Predicate.isString(actual.sealed)

/** Whether the inside of a value with a secret is hidden, too. The fields of a struct are judged one by one. */
const opens = ({ actual, ast }: { readonly actual: unknown; readonly ast: AST.AST }, within: boolean): boolean =>
  within || isMarked(actual) || !isStruct(ast)

const isStruct = (ast: AST.AST): boolean => {
  switch (ast._tag) {
    case "TypeLiteral":
    case "TupleType":
      return true
    case "Transformation":
      // if only the decoded side is marked as a secret, all of the encoded side is one
      return isStruct(ast.from) && isStruct(ast.to) && holdsSecret(ast.from)
    case "Refinement":
      return isStruct(ast.from)
    case "Declaration":
      // the decoded side of a class
      return !isSecret(ast) && ast.typeParameters.length === 1 && isStruct(ast.typeParameters[0])
    default:
      return false
  }
}
