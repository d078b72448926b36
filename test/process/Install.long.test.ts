// Long: these install packages from the registry, and compile better-sqlite3 where there is no prebuilt binary.
import { Effect, Exit, Scope } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pack, root, run } from "../utils/npm.js"
import { temporaryDatabase } from "../utils/postgres.js"
import { postgresUrl } from "../utils/server.js"

const minutes = 60_000
const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"))
const readme = fs.readFileSync(path.join(root, "README.md"), "utf8")
const blocks = (language: string): ReadonlyArray<string> =>
  Array.from(readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm")), ([, code]) => code)

// without a network there is nothing to be seen here; CI has one, and there a registry that cannot be reached is a failure
const reachable = process.env.CI !== undefined ||
  await run("npm", ["view", "effect@3", "version", "--fetch-timeout=20000", "--fetch-retries=0"], root)
    .then(() => true, () => false)

/** The first version of a peer's range. */
const oldest = (range: string): string => {
  const [version] = /\d+\.\d+\.\d+/.exec(range) ?? [""]
  return version
}

describe.skipIf(!reachable)("installed from the registry", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "install-test-"))
  const scope = Effect.runSync(Scope.make())
  let tarball = ""
  let database = ""
  beforeAll(async () => {
    tarball = await pack(folder, { checked: true })
    database = await Effect.runPromise(Scope.extend(temporaryDatabase(postgresUrl()), scope))
  }, 10 * minutes)
  afterAll(async () => {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    fs.rmSync(folder, { recursive: true, force: true })
  })

  const emptyProject = (name: string): string => {
    const project = path.join(folder, name)
    fs.mkdirSync(project)
    fs.writeFileSync(path.join(project, "package.json"), JSON.stringify({ name, private: true, type: "module" }))
    return project
  }

  it("the README's lines give a folder in which its program compiles and runs", async () => {
    const project = emptyProject("newcomer")
    const [lines] = blocks("sh")
    assert.match(lines, /^npm install effect-eventsourcing /)
    // the package itself is not in the registry before it is released
    await run("sh", ["-ec", lines.replace("install effect-eventsourcing ", `install ${tarball} `)], project)
    if (Number.parseInt(await run("npm", ["--version"], project)) >= 12) {
      await run("npm", ["install-scripts", "approve", "better-sqlite3"], project)
      await run("npm", ["rebuild", "better-sqlite3"], project)
    }
    fs.writeFileSync(path.join(project, "bank.ts"), blocks("ts").join("\n"))
    const options = [
      "--noEmit",
      "--strict",
      "--exactOptionalPropertyTypes",
      "--target",
      "es2022",
      "--module",
      "nodenext"
    ]
    await run("npx", ["tsc", ...options, "--types", "node", "bank.ts"], project)
    const printed = await run("npx", ["tsx", "bank.ts"], project, { DATABASE_URL: database })
    assert.deepStrictEqual(printed.match(/InsufficientFunds/g)?.length, 3)
  }, 20 * minutes)

  it("the oldest peers of its ranges compile it and pass the core of its tests", async () => {
    const project = path.join(folder, "oldest")
    // the packages themselves, if the folder is a link
    fs.cpSync(fs.realpathSync(path.join(root, "node_modules")), path.join(project, "node_modules"), {
      recursive: true,
      verbatimSymlinks: true
    })
    // what is installed has peers too: packages of newer versions would refuse the oldest peers
    for (const name of [".package-lock.json", "@effect"]) {
      fs.rmSync(path.join(project, "node_modules", name), { recursive: true })
    }
    for (const name of ["src", "test", "examples", "vitest.config.ts", ...fs.readdirSync(root).filter(isConfig)]) {
      fs.cpSync(path.join(root, name), path.join(project, name), { recursive: true })
    }
    // the packages of the example with an exporter need a newer effect
    const kept = Object.entries<string>(manifest.devDependencies).filter(([name]) =>
      // what only examples need has peers of its own
      !name.includes("opentelemetry") && !name.includes("platform-node")
    )
    const devDependencies: Record<string, string> = { ...Object.fromEntries(kept), "@effect/vitest": "0.29.0" }
    for (const [name, range] of Object.entries<string>(manifest.peerDependencies)) devDependencies[name] = oldest(range)
    fs.writeFileSync(path.join(project, "package.json"), JSON.stringify({ ...manifest, devDependencies }))
    await run("npm", ["install", "--no-package-lock"], project)
    const { version } = JSON.parse(
      fs.readFileSync(path.join(project, "node_modules", "effect", "package.json"), "utf8")
    )
    assert.strictEqual(version, oldest(manifest.peerDependencies.effect))
    await run("npx", ["tsc", "--noEmit", "-p", "tsconfig.build.json"], project)
    const core = ["Core", "Contracts", "Repository", "Transactions"].map((name) => `test/${name}.test.ts`)
    await run("npx", ["vitest", "run", ...core.filter((file) => fs.existsSync(path.join(project, file)))], project)
  }, 20 * minutes)
})

function isConfig(name: string): boolean {
  return /^tsconfig.*\.json$/.test(name)
}
