import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import * as Visits from "./visits.js"

/** The literal tags of the members of a schema. A schema that cannot be followed has none. */
export const tagsOf = (schema: Schema.Schema.All): ReadonlySet<string> => {
  const tags = new Set<string>()
  try {
    // a union may contain itself
    collect(schema.ast, tags, Visits.make())
  } catch {
    // the function of a suspended schema may throw
  }
  return tags
}

const collect = (ast: AST.AST, tags: Set<string>, isFirst: (ast: AST.AST) => boolean): void => {
  if (!isFirst(ast)) return
  const follow = (ast: AST.AST) => collect(ast, tags, isFirst)
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
      // a class or `Data`: its fields are the only type parameter. That of an Option or a Chunk is not the value itself
      return ast.typeParameters.length === 1 && Option.isNone(AST.getTypeConstructorAnnotation(ast))
        ? follow(ast.typeParameters[0])
        : undefined
    case "TypeLiteral": {
      const tag = ast.propertySignatures.find(({ name }) => name === "_tag")
      return tag === undefined ? undefined : addLiterals(tag.type, tags, isFirst)
    }
  }
}

const addLiterals = (ast: AST.AST, tags: Set<string>, isFirst: (ast: AST.AST) => boolean): void => {
  const follow = (ast: AST.AST) => addLiterals(ast, tags, isFirst)
  switch (ast._tag) {
    case "Union":
      return ast.types.forEach(follow)
    case "Suspend":
      return isFirst(ast) ? follow(ast.f()) : undefined
    case "Refinement":
      return follow(ast.from)
    case "Transformation":
      return follow(ast.to)
    case "Enums":
      return ast.enums.forEach(([, value]) => addText(value, tags))
    case "Literal":
      return addText(ast.literal, tags)
  }
}

const addText = (tag: AST.LiteralValue, tags: Set<string>): void => {
  if (typeof tag === "string") tags.add(tag)
}
