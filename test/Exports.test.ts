import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const src = fileURLToPath(new URL("../src", import.meta.url))

/** Exports whose docstring still lacks a part. */
const exceptions: { readonly [part: string]: ReadonlyArray<string> } = JSON.parse(
  fs.readFileSync(fileURLToPath(new URL("./fixtures/docstrings.json", import.meta.url)), "utf8")
)

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

const lackingIn = (module: string): ReadonlyArray<readonly [part: string, name: string]> => {
  const text = fs.readFileSync(path.join(src, `${module}.ts`), "utf8")
  const file = ts.createSourceFile(module, text, ts.ScriptTarget.ES2022, true)
  return file.statements.filter(isExported).flatMap((statement) => {
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
}

const modules = ["", "testing"].flatMap((folder) =>
  fs.readdirSync(path.join(src, folder))
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => path.posix.join(folder, path.basename(file, ".ts")))
).sort()

describe("every public export has", () => {
  const lacking = modules.flatMap(lackingIn)
  for (const part of ["since", "category", "description", "example"]) {
    it(part, () => {
      const names = lacking.filter(([lacks]) => lacks === part).map(([, name]) => name)
      assert.deepStrictEqual(names.filter((name) => !exceptions[part]?.includes(name)), [])
    })
  }
})
