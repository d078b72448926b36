import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const src = fileURLToPath(new URL("../src", import.meta.url))

const namesOf = (statement: ts.Statement): ReadonlyArray<string> => {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.map(({ name }) => name.getText())
  }
  const isNamed = ts.isClassDeclaration(statement) || ts.isFunctionDeclaration(statement) ||
    ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)
  return isNamed && statement.name !== undefined ? [statement.name.text] : []
}

const isExported = (statement: ts.Statement): boolean =>
  ts.canHaveModifiers(statement) &&
  (ts.getModifiers(statement) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)

const fileOf = (module: string): ts.SourceFile =>
  ts.createSourceFile(module, fs.readFileSync(path.join(src, `${module}.ts`), "utf8"), ts.ScriptTarget.ES2022, true)

const namesIn = (bindings: ts.Node | undefined): ReadonlyArray<string> =>
  bindings !== undefined && (ts.isNamedExports(bindings) || ts.isNamedImports(bindings))
    ? bindings.elements.map(({ name }) => name.text)
    : []

/** The exported statements of a module, those of the internal modules that it exports included. */
const exportedBy = (module: string): ReadonlyArray<ts.Statement> => {
  const { statements } = fileOf(module)
  const names = new Set(statements.filter(ts.isExportDeclaration).flatMap(({ exportClause }) => namesIn(exportClause)))
  const elsewhere = statements.flatMap((statement) => {
    const isSource = ts.isExportDeclaration(statement) || ts.isImportDeclaration(statement)
    if (!isSource || statement.moduleSpecifier === undefined) return []
    const bindings = ts.isExportDeclaration(statement) ? statement.exportClause : statement.importClause?.namedBindings
    const wanted = namesIn(bindings).filter((name) => names.has(name))
    if (wanted.length === 0) return []
    const specifier = statement.moduleSpecifier.getText().slice(1, -1).replace(/\.js$/, "")
    return fileOf(path.join(path.dirname(module), specifier)).statements
      .filter((statement) => isExported(statement) && namesOf(statement).some((name) => wanted.includes(name)))
  })
  return [...statements.filter(isExported), ...elsewhere]
}

const lackingIn = (module: string): ReadonlyArray<readonly [part: string, name: string]> =>
  exportedBy(module).flatMap((statement) => {
    const docs = ts.getJSDocCommentsAndTags(statement).filter(ts.isJSDoc)
    const tags = docs.flatMap((doc) => doc.tags ?? []).map(({ tagName }) => tagName.text)
    if (tags.includes("internal")) return []
    const isType = ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)
    const parts = ["since", "category"].filter((tag) => !tags.includes(tag))
    if (!docs.some(({ comment }) => comment !== undefined)) parts.push("description")
    return namesOf(statement).flatMap((name) => [
      ...parts.map((part) => [part, `${module}.${name}`] as const),
      ...(isType || tags.includes("example") || name.endsWith("TypeId")
        ? []
        : [["example", `${module}.${name}`] as const])
    ])
  })

const modules = ["", "cluster", "testing"].flatMap((folder) =>
  fs.readdirSync(path.join(src, folder))
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => path.posix.join(folder, path.basename(file, ".ts")))
).sort()

describe("every public export has", () => {
  const lacking = modules.flatMap(lackingIn)
  for (const part of ["since", "category", "description", "example"]) {
    it(part, () => {
      const names = lacking.filter(([lacks]) => lacks === part).map(([, name]) => name)
      assert.deepStrictEqual(names, [])
    })
  }
})
