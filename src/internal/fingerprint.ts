import type * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { createHash } from "node:crypto"

/**
 * A hash of the *encoded* side of a schema in a canonical form of our own, so that it depends on what is stored and on
 * nothing else: names, types, optionality, literals and nesting count; key order, annotations, refinements and the
 * decoded side do not.
 *
 * @internal
 */
export const fingerprint = <A, I, R>(schema: Schema.Schema<A, I, R>): string =>
  createHash("sha256").update(canonical(schema.ast)).digest("hex").slice(0, 32)

/** @internal */
export const canonical = (ast: AST.AST): string => JSON.stringify(describe(ast, []))

type Description = string | ReadonlyArray<Description>

const describe = (ast: AST.AST, ancestors: ReadonlyArray<AST.AST>): Description => {
  // a recursive schema refers to an ancestor by its distance, so that its name does not count
  const seen = ancestors.lastIndexOf(ast)
  if (seen >= 0) return ["ref", String(ancestors.length - seen)]
  const inner = (child: AST.AST): Description => describe(child, [...ancestors, ast])
  switch (ast._tag) {
    case "Transformation":
    case "Refinement":
      return describe(ast.from, ancestors)
    case "Suspend":
      return describe(ast.f(), ancestors)
    case "Literal":
      return ["literal", typeof ast.literal, String(ast.literal)]
    case "UniqueSymbol":
      return ["symbol", String(ast.symbol)]
    case "Enums":
      return ["enum", ...sortDescriptions(ast.enums.map(([, value]) => [typeof value, String(value)]))]
    case "TemplateLiteral":
      return ["template", ast.head, ...ast.spans.map((span) => [inner(span.type), span.literal])]
    case "TupleType":
      return [
        "tuple",
        ast.elements.map((element) => [element.isOptional ? "?" : "", inner(element.type)]),
        ast.rest.map((rest) => inner(rest.type))
      ]
    case "TypeLiteral":
      return [
        "struct",
        sortDescriptions(
          ast.propertySignatures.map((property) => [
            String(property.name),
            property.isOptional ? "?" : "",
            inner(property.type)
          ])
        ),
        sortDescriptions(ast.indexSignatures.map((index) => [inner(index.parameter), inner(index.type)]))
      ]
    case "Union":
      return ["union", ...sortDescriptions(ast.types.map(inner))]
    case "Declaration":
      return [
        "declaration",
        String(AST.getIdentifierAnnotation(ast).pipe((name) => name._tag === "Some" ? name.value : "")),
        ...ast.typeParameters.map(inner)
      ]
    default:
      return ast._tag
  }
}

const sortDescriptions = (descriptions: ReadonlyArray<Description>): ReadonlyArray<Description> =>
  descriptions
    .map((description) => [JSON.stringify(description), description] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, description]) => description)
