import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as AST from "effect/SchemaAST"
import { threw } from "./reason.js"
import * as Visits from "./visits.js"

/**
 * Whether a value of this schema, or a part of one, is `Redacted`: then what it encodes to is a secret too.
 *
 * @internal
 */
export const holdsSecret = (ast: AST.AST): boolean => {
  const known = found.get(ast)
  if (known !== undefined) return known
  const holds = search(ast, Visits.make())
  found.set(ast, holds)
  return holds
}

/**
 * A parse error without the values of secrets, and without the texts that a schema may have made of them. What is in a place
 * of its own beside a secret stays.
 *
 * @internal
 */
export const withoutSecrets = (error: ParseResult.ParseError): ParseResult.ParseError => {
  const { issue } = error
  // the issue of every value has a schema, but for those of the places inside of one
  return issue._tag !== "Missing" && "ast" in issue && holdsSecret(issue.ast)
    ? ParseResult.parseError(hide(issue, false))
    : error
}

const found = new WeakMap<AST.AST, boolean>()

const search = (ast: AST.AST, isFirst: (ast: AST.AST) => boolean): boolean => {
  if (!isFirst(ast)) return false
  return (ast._tag === "Declaration" && isRedacted(ast)) || Visits.partsOf(ast).some((part) => search(part, isFirst))
}

const isRedacted = (ast: AST.Declaration): boolean =>
  Option.exists(
    AST.getTypeConstructorAnnotation(ast),
    (constructor) => typeof constructor === "object" && "_tag" in constructor && constructor._tag === "effect/Redacted"
  )

// text where a value was
const hidden = "<redacted>"

const hide = (issue: ParseResult.ParseIssue, within: boolean): ParseResult.ParseIssue => {
  switch (issue._tag) {
    // what holds a secret is around it
    case "Pointer":
      return new ParseResult.Pointer(issue.path, hidden, hide(issue.issue, within))
    case "Unexpected":
      return new ParseResult.Unexpected(hidden)
    case "Missing":
      return issue
    case "Type":
    case "Forbidden":
      return within || holdsSecret(issue.ast)
        ? new ParseResult[issue._tag](issue.ast, hidden, issue.message?.startsWith(threw) === true ? threw : undefined)
        : issue
    case "Refinement": {
      if (!within && !holdsSecret(issue.ast)) return issue
      return new ParseResult.Refinement(issue.ast, hidden, issue.kind, hide(issue.issue, opens(issue.ast, within)))
    }
    case "Transformation": {
      if (!within && !holdsSecret(issue.ast)) return issue
      return new ParseResult.Transformation(issue.ast, hidden, issue.kind, hide(issue.issue, opens(issue.ast, within)))
    }
    case "Composite": {
      if (!within && !holdsSecret(issue.ast)) return issue
      const issues = Array.isArray(issue.issues) ? issue.issues : [issue.issues]
      const [first, ...rest] = issues.map((inner) => hide(inner, opens(issue.ast, within)))
      return new ParseResult.Composite(issue.ast, hidden, [first, ...rest])
    }
  }
}

/** Whether what is inside of a value that holds a secret is to be hidden too: a field of a struct is told from the others. */
const opens = (ast: AST.AST, within: boolean): boolean => within || !isStruct(ast)

const isStruct = (ast: AST.AST): boolean => {
  switch (ast._tag) {
    case "TypeLiteral":
    case "TupleType":
      return true
    case "Transformation":
      // where only the decoded side is a secret, all of the encoded one is
      return isStruct(ast.from) && isStruct(ast.to) && holdsSecret(ast.from)
    case "Refinement":
      return isStruct(ast.from)
    case "Declaration":
      // the decoded side of a class
      return !isRedacted(ast) && ast.typeParameters.length === 1 && isStruct(ast.typeParameters[0])
    default:
      return false
  }
}
