import { Effect, Exit, Scope } from "effect"
import type { Projection, SqlEventStore, Subscription } from "effect-eventsourcing"
import * as fs from "node:fs"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { complete } from "../../src/internal/repository/options.js"
import { everything } from "../utils/mode.js"
import { root } from "../utils/npm.js"
import { temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"
import { complaints } from "../utils/tsc.js"

const generated = path.join(root, "test", ".generated")

interface Snippet {
  readonly name: string
  readonly code: string
  readonly run: boolean
}

const fence = /^```ts( skip-run)?\n([\s\S]*?)^```$/gm

// the snippets of a page are one program: each goes on where the one before ended
const page = (file: string): ReadonlyArray<Snippet> => {
  const blocks = Array.from(fs.readFileSync(path.join(root, file), "utf8").matchAll(fence))
  return blocks.length === 0 ? [] : [{
    name: file,
    code: blocks.map(([, , code]) => code).join("\n"),
    run: blocks.every(([, skip]) => skip === undefined)
  }]
}

const docstrings = (file: string): ReadonlyArray<Snippet> => {
  const source = fs.readFileSync(path.join(root, file), "utf8")
  return Array.from(source.matchAll(/^ \* ```ts( skip-run)?\n([\s\S]*?)^ \* ```$/gm)).map(([, skip, body], index) => ({
    name: `${file} ${index + 1}`,
    code: body.replace(/^ \* ?/gm, ""),
    run: skip === undefined
  }))
}

const markdown = (folder: string): ReadonlyArray<string> =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => path.join(folder, file))

const sources = fs.readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => path.join("src", file))

// a short run runs those of the pages
const snippets = [
  ...["README.md", ...markdown("docs")].flatMap(page),
  ...(everything ? sources.flatMap(docstrings) : [])
].map((snippet, index) => ({ ...snippet, file: path.join(generated, `snippet-${index}.ts`) }))

describe("snippets", () => {
  const before = process.cwd()
  const scope = Effect.runSync(Scope.make())
  beforeAll(async () => {
    process.env.DATABASE_URL = await Effect.runPromise(Scope.extend(temporaryDatabase(postgresUrl()), scope))
    fs.rmSync(generated, { recursive: true, force: true })
    fs.mkdirSync(generated, { recursive: true })
    for (const { file, code } of snippets) fs.writeFileSync(file, `${code}\nexport {}\n`)
  })
  afterAll(async () => {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    process.chdir(before)
    fs.rmSync(generated, { recursive: true, force: true })
  })

  it("are there", () => {
    assert.isAbove(snippets.length, 10)
  })

  it.runIf(everything)("compile", async () => {
    const problems = await complaints(generated, {}, { lib: ["es2023", "dom"] })
    const names = problems.replaceAll(/^.*?(snippet-\d+)\.ts/gm, (_, file) => {
      const snippet = snippets.find((snippet) => path.basename(snippet.file, ".ts") === file)
      return snippet?.name ?? file
    })
    assert.strictEqual(names, "")
  })

  for (const { file, name, run } of snippets) {
    if (!run) continue
    it(`run: ${name}`, async () => {
      const folder = path.join(generated, path.basename(file, ".ts"))
      fs.mkdirSync(folder)
      process.chdir(folder)
      await import(pathToFileURL(file).href)
    })
  }
})

describe("pages", () => {
  it("name files that exist", () => {
    const missing = ["README.md", ...markdown("docs")].flatMap((page) => {
      const text = fs.readFileSync(path.join(root, page), "utf8")
      return Array.from(text.matchAll(/\b(?:src|test|bench|examples)\/[\w/.-]+\.(?:ts|mjs)\b/g), ([file]) => file)
        .filter((file) => !fs.existsSync(path.join(root, file)))
        .map((file) => `${page}: ${file}`)
    })
    assert.deepStrictEqual(missing, [])
  })

  it("list every option of a repository, of the stores, and of projections and subscriptions", () => {
    const page = fs.readFileSync(path.join(root, "docs/options.md"), "utf8")
    const [, repository, stores, , readers] = page.split(/^## /m).map((part) =>
      Array.from(part.matchAll(/^\| `(\w+)`/gm), ([, name]) => name).sort()
    )
    assert.deepStrictEqual(repository, Object.keys(complete({})).sort())
    const ofStores: Record<keyof SqlEventStore.Options, true> = {
      groupAppends: true,
      groupLoads: true,
      migrate: true,
      prefix: true
    }
    assert.deepStrictEqual(stores, Object.keys(ofStores))
    const ofReaders: Record<keyof Projection.Options | keyof Subscription.Options, true> = {
      closeWithin: true,
      concurrency: true,
      inline: true,
      isPassing: true,
      lease: true,
      maxDelay: true,
      pageSize: true,
      partitions: true,
      poison: true,
      retry: true,
      timeout: true
    }
    assert.deepStrictEqual(readers, Object.keys(ofReaders))
  })
})

describe("public modules", () => {
  it("every export has a docstring with @since and @category", () => {
    const lacking: Array<string> = []
    for (const file of sources) {
      if (file.includes("internal") || file.endsWith("index.ts")) continue
      const lines = fs.readFileSync(path.join(root, file), "utf8").split("\n")
      for (const [index, line] of lines.entries()) {
        const found = /^export (?:declare )?(?:const|class|interface|type|function) (\w+)/.exec(line)
        if (found === null) continue
        const end = lines[index - 1] === " */" || lines[index - 1].endsWith("@internal */")
        const start = lines.slice(0, index).findLastIndex((text) => text.startsWith("/**"))
        const doc = lines.slice(start, index).join("\n")
        const complete = doc.includes("@internal") || (doc.includes("@since") && doc.includes("@category"))
        if (!end || !complete) lacking.push(`${file}: ${found[1]}`)
      }
    }
    assert.deepStrictEqual(lacking, [])
  })
})
