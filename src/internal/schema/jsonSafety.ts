import * as AST from "effect/SchemaAST"
import { formatPath, type NotJson } from "./json.js"

/** Finds a place where the encoded side of a schema cannot be JSON, as far as the schema shows it. */
export const notJson = (ast: AST.AST): NotJson | undefined => find(ast, [], new Set(), false)

const find = (
  ast: AST.AST,
  path: ReadonlyArray<PropertyKey>,
  seen: Set<unknown>,
  mayBeAbsent: boolean
): NotJson | undefined => {
  const problem = (what: string): NotJson => ({
    path: formatPath(path),
    reason: `encodes to ${what}, which JSON cannot hold`
  })
  switch (ast._tag) {
    case "Transformation":
    case "Refinement":
      return find(ast.from, path, seen, mayBeAbsent)
    case "Suspend":
      if (seen.has(ast.annotations) || seen.size > 1_000) return undefined
      seen.add(ast.annotations)
      return find(ast.f(), path, seen, mayBeAbsent)
    case "Declaration":
      // a type that Effect declares, an instance of a class, or the decoded side of a Schema.Class
      return AST.getTypeConstructorAnnotation(ast)._tag === "Some" || instanceOf in ast.annotations ||
          AST.SurrogateAnnotationId in ast.annotations
        ? problem(`a value of ${String(ast)}`)
        : undefined
    case "BigIntKeyword":
      return problem("a bigint")
    case "SymbolKeyword":
    case "UniqueSymbol":
      return problem("a symbol")
    case "UndefinedKeyword":
    case "VoidKeyword":
      return mayBeAbsent ? undefined : problem("undefined")
    case "Literal":
      return typeof ast.literal === "bigint" ? problem("a bigint") : undefined
    case "Union":
      return first(ast.types, (type) => find(type, path, seen, mayBeAbsent))
    case "TupleType":
      return first([...ast.elements, ...ast.rest], ({ type }, index) => find(type, [...path, index], seen, false))
    case "TypeLiteral":
      return first(ast.propertySignatures, ({ name, type }) =>
        typeof name === "symbol"
          ? problem("a record with a symbol for a key")
          : find(type, [...path, name], seen, true)) ??
        first(ast.indexSignatures, ({ parameter, type }) =>
          AST.encodedAST(parameter)._tag === "SymbolKeyword"
            ? problem("a record with symbols for keys")
            : find(type, [...path, "*"], seen, false))
    default:
      return undefined
  }
}

const instanceOf = Symbol.for("effect/SchemaId/InstanceOf")

const first = <A>(items: ReadonlyArray<A>, f: (item: A, index: number) => NotJson | undefined): NotJson | undefined => {
  for (const [index, item] of items.entries()) {
    const found = f(item, index)
    if (found !== undefined) return found
  }
  return undefined
}
