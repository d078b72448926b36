import type * as AST from "effect/SchemaAST"

/**
 * Whether a walk through a schema comes to a node for the first time. What derives a schema from a recursive one, as
 * `Schema.typeSchema` does, makes new nodes at every turn, but keeps the annotations; where it keeps not even those, the
 * walk ends after a while.
 *
 * @internal
 */
export const make = (): (ast: AST.AST) => boolean => {
  const seen = new Set<unknown>()
  let suspended = 0
  return (ast) => {
    const identity = ast._tag === "Suspend" ? ast.annotations : ast
    if (seen.has(identity) || (ast._tag === "Suspend" && ++suspended > mostSuspended)) return false
    seen.add(identity)
    return true
  }
}

const mostSuspended = 200

/**
 * The schemas that a schema is made of.
 *
 * @internal
 */
export const partsOf = (ast: AST.AST): ReadonlyArray<AST.AST> => {
  switch (ast._tag) {
    case "Declaration":
      return ast.typeParameters
    case "Refinement":
      return [ast.from]
    case "Suspend":
      return [ast.f()]
    case "Transformation":
      return [ast.from, ast.to]
    case "Union":
      return ast.types
    case "TupleType":
      return [...ast.elements, ...ast.rest].map(({ type }) => type)
    case "TypeLiteral":
      return [...ast.propertySignatures, ...ast.indexSignatures].map(({ type }) => type)
    default:
      return []
  }
}
