import type * as AST from "effect/SchemaAST"

/**
 * Tests whether a walk through a schema reaches a node for the first time.
 *
 * A schema that is derived from a recursive one, as by `Schema.typeSchema`, has new nodes at every turn, but keeps the
 * annotations. If it does not keep them, the walk ends after 200 turns.
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

/** A part of a schema, and the keys that lead to its value. `*` stands for any key or index. */
export type Place = readonly [keys: ReadonlyArray<PropertyKey>, ast: AST.AST]

export const placesOf = (ast: AST.AST): ReadonlyArray<Place> => {
  switch (ast._tag) {
    case "TypeLiteral":
      return [
        ...ast.propertySignatures.map(({ name, type }): Place => [[name], type]),
        ...ast.indexSignatures.map(({ type }): Place => [["*"], type])
      ]
    case "TupleType":
      return [
        ...ast.elements.map(({ type }, index): Place => [[index], type]),
        ...ast.rest.map(({ type }): Place => [["*"], type])
      ]
    default:
      return partsOf(ast).map((part) => [[], part])
  }
}

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
