import type * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"

/** The literal tags of the members of a schema. A schema that cannot be followed has none. */
export const tagsOf = (schema: Schema.Schema.All): ReadonlySet<string> => {
  const tags = new Set<string>()
  try {
    collect(schema.ast, tags, new Set())
  } catch {
    // the function of a suspended schema may throw
  }
  return tags
}

const collect = (ast: AST.AST, tags: Set<string>, seen: Set<AST.AST>): void => {
  // a union may contain itself
  if (seen.has(ast)) return
  seen.add(ast)
  const follow = (ast: AST.AST) => collect(ast, tags, seen)
  switch (ast._tag) {
    case "Union":
      return ast.types.forEach(follow)
    case "Suspend":
      return follow(ast.f())
    case "Refinement":
      return follow(ast.from)
    case "Transformation":
      return follow(ast.to)
    case "Declaration":
      // a class: its fields are the only type parameter
      return ast.typeParameters.length === 1 ? follow(ast.typeParameters[0]) : undefined
    case "TypeLiteral": {
      const tag = ast.propertySignatures.find(({ name }) => name === "_tag")
      return tag === undefined ? undefined : addLiterals(tag.type, tags)
    }
  }
}

const addLiterals = (ast: AST.AST, tags: Set<string>): void => {
  if (ast._tag === "Union") return ast.types.forEach((type) => addLiterals(type, tags))
  if (ast._tag === "Literal" && typeof ast.literal === "string") tags.add(ast.literal)
}
