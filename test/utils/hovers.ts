import * as path from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

// Prints, as JSON, how an editor shows the parts of test/fixtures/hovers.ts. A process of its own: it takes seconds.

const root = fileURLToPath(new URL("../..", import.meta.url))
const file = path.join(root, "test/fixtures/hovers.ts")
const config = ts.readConfigFile(path.join(root, "tsconfig.json"), (name) => ts.sys.readFile(name))
const { options } = ts.parseJsonConfigFileContent({ ...config.config, include: [] }, ts.sys, root)
const text = ts.sys.readFile(file) ?? ""

const service = ts.createLanguageService({
  getCompilationSettings: () => ({ ...options, incremental: false, noErrorTruncation: true }),
  getScriptFileNames: () => [file],
  getScriptVersion: () => "1",
  getScriptSnapshot: (name) => {
    const content = ts.sys.readFile(name)
    return content === undefined ? undefined : ts.ScriptSnapshot.fromString(content)
  },
  getCurrentDirectory: () => root,
  getDefaultLibFileName: ts.getDefaultLibFilePath,
  fileExists: ts.sys.fileExists.bind(ts.sys),
  readFile: ts.sys.readFile.bind(ts.sys)
})

const at = (before: string): number => {
  const index = text.indexOf(before)
  if (index < 0) throw new Error(`${before} is not in the fixture`)
  return index + before.length
}

const hover = (before: string): string =>
  ts.displayPartsToString(service.getQuickInfoAtPosition(file, at(before))?.displayParts).replaceAll(/\s+/g, " ")

process.stdout.write(JSON.stringify({
  execute: hover("accounts.ex"),
  load: hover("accounts.lo"),
  accounts: hover("const acc"),
  account: ts.displayPartsToString(
    service.getQuickInfoAtPosition(file, at("export const Account =") - 3)?.displayParts
  ).replaceAll(/\s+/g, " "),
  make: hover("Aggregate.ma"),
  layer: hover("Repository.la"),
  accountsLive: hover("const AccountsLi"),
  event: hover("evolve: (state, ev"),
  deposit: hover("tills.ex"),
  handlerCommand: hover("PayOut: (state, com"),
  handlerEvent: hover("Withdrawn: (state, ev"),
  till: hover("export const Ti"),
  projectionEvents: hover("handle: (eve"),
  projection: hover("export const Withdr"),
  projectionLayer: hover("const WithdrawalsLi"),
  visible: hover("export const visi"),
  completions: service.getCompletionsAtPosition(file, at("+ event."), {})?.entries
    .filter(({ kind }) => kind === ts.ScriptElementKind.memberVariableElement)
    .map(({ name }) => name)
}))
