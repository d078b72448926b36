import * as fs from "node:fs"
import * as path from "node:path"
import * as ts from "typescript"
import { assert, describe, it } from "vitest"

const root = path.join(import.meta.dirname, "..")
const src = path.join(root, "src")

const filesIn = (folder: string, extension: string): ReadonlyArray<string> =>
  fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(extension)).sort()

/** The imports and exports of every file in src, types included, as paths relative to src. */
const imports = new Map(
  filesIn(src, ".ts").map((file) => {
    const { importedFiles } = ts.preProcessFile(fs.readFileSync(path.join(src, file), "utf8"), true, true)
    const names = importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith("."))
    return [file, names.map((name) => path.join(path.dirname(file), name).replace(/\.js$/, ".ts"))]
  })
)

/** The public modules that are models or service tags. */
const models = [
  ...["Aggregate", "CheckpointStore", "Event", "EventStore", "ExpectedVersion", "InvalidOption", "KeyStore"],
  ...["Metrics", "Position"],
  ...["Snapshot", "SnapshotPolicy", "SnapshotStore", "StreamId", "Streams", "Versions", "Wakeup"]
]

/** The rooms and public modules that each room may import. `leaf` stands for the files directly in src/internal. */
const rooms: Readonly<Record<string, ReadonlyArray<string>>> = {
  leaf: ["ExpectedVersion", "InvalidOption", "StreamId"],
  schema: ["leaf", "InvalidOption", "StreamId", "Versions"],
  personal: ["leaf", "schema", "store", ...models],
  repository: ["leaf", "schema", "personal", ...models],
  store: ["leaf", "schema", ...models],
  projection: ["leaf", "schema", "store", ...models],
  retention: ["leaf", "schema", "projection", ...models],
  cli: [
    ...["leaf", "schema", "store", "sql", "Personal", "Projection", "Projections", "Repository", "Retention"],
    ...["Sqlite", "SqlKeyStore", "SqlStores", "Subscription", ...models]
  ],
  cluster: ["leaf", "schema", "store", "repository", "Repository", ...models],
  sql: ["leaf", "schema", "store", "projection", ...models],
  tenants: ["leaf", "store", "Streams", ...models],
  laws: ["leaf", "schema", "personal", "repository", ...models],
  testing: ["leaf", ...models]
}

const roomOf = (file: string): string | undefined => {
  const [top, room, ...rest] = file.split(path.sep)
  return top !== "internal" ? undefined : rest.length === 0 ? "leaf" : room
}

describe("imports in src", () => {
  it("go downwards: a room imports only what it may", () => {
    const found = Array.from(imports).flatMap(([file, targets]) => {
      const room = roomOf(file)
      return room === undefined ? [] : targets
        .filter((target) => roomOf(target) !== room && !rooms[room].includes(roomOf(target) ?? target.slice(0, -3)))
        .map((target) => `${file} -> ${target}`)
    })
    assert.deepStrictEqual(found, [])
  })

  it("have no cycles", () => {
    const done = new Set<string>()
    const cycles: Array<string> = []
    const visit = (file: string, above: ReadonlyArray<string>): void => {
      if (above.includes(file)) return void cycles.push([...above.slice(above.indexOf(file)), file].join(" -> "))
      if (done.has(file)) return
      done.add(file)
      for (const target of imports.get(file) ?? []) visit(target, [...above, file])
    }
    for (const file of imports.keys()) visit(file, [])
    assert.deepStrictEqual(cycles, [])
  })
})

describe("the prose of src, docs and README.md", () => {
  const words = /\b(whoever|whomever|nobody|anybody|somebody|lest|is none that|is no record|dear)\b/gi

  it("does not use unusual words", () => {
    const files = [
      ...filesIn(src, ".ts").map((file) => path.join("src", file)),
      ...filesIn(path.join(root, "docs"), ".md").map((file) => path.join("docs", file)),
      "README.md"
    ]
    const found = files.flatMap((file) =>
      fs.readFileSync(path.join(root, file), "utf8").split("\n").flatMap((line, index) =>
        Array.from(line.matchAll(words), ([word]) => `${file}:${index + 1} ${word}`)
      )
    )
    assert.deepStrictEqual(found, [])
  })
})
