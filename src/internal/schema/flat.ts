import * as AST from "effect/SchemaAST"

/**
 * Collects the keys of a struct or class whose fields contain no other struct. The keys of a value then tell whether it
 * has excess fields, at a fraction of the cost of `onExcessProperty: "error"`. `undefined` for other schemas.
 */
export const flatKeys = (ast: AST.AST): ReadonlySet<PropertyKey> | undefined => {
  // its own options decide about excess keys
  if (AST.ParseOptionsAnnotationId in ast.annotations) return undefined
  switch (ast._tag) {
    case "Refinement":
      return flatKeys(ast.from)
    case "Transformation":
      return flatKeys(ast.to)
    case "Declaration":
      // a class, whose only type parameter is its fields
      return ast.typeParameters.length === 1 ? flatKeys(AST.typeAST(ast.typeParameters[0])) : undefined
    case "TypeLiteral":
      return ast.indexSignatures.length === 0 && ast.propertySignatures.every(({ type }) => isLeaf(AST.typeAST(type)))
        ? new Set(ast.propertySignatures.map(({ name }) => name))
        : undefined
    default:
      return undefined
  }
}

const isLeaf = (ast: AST.AST): boolean => {
  switch (ast._tag) {
    case "Refinement":
      return isLeaf(ast.from)
    case "Union":
      return ast.types.every(isLeaf)
    case "TupleType":
      return ast.elements.length === 0 && ast.rest.every(({ type }) => isLeaf(type))
    case "Declaration":
      return ast.typeParameters.length === 0
    case "TypeLiteral":
    case "Transformation":
    case "Suspend":
      return false
    default:
      return true
  }
}

export const hasOnly = (value: object, keys: ReadonlySet<PropertyKey>): boolean => {
  for (const key of Reflect.ownKeys(value)) {
    if (!keys.has(key)) return false
  }
  return true
}
