// Starts, signals and restarts the processes of the example; nothing here concerns event sourcing.
import { Deferred, Effect, type Scope } from "effect"
import * as childProcess from "node:child_process"
import * as net from "node:net"
import * as readline from "node:readline"

/** A process that can be started again after it ended. */
export interface Member {
  readonly name: string
  readonly start: Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits for its end. */
  readonly exited: Effect.Effect<void>
  readonly pid: () => number | undefined
  /** Waits for a line that it prints after its start. */
  readonly line: (fits: RegExp) => Effect.Effect<string>
}

type Environment = Readonly<Record<string, string>>

/** Makes a member that runs this program in another role. It is stopped when the scope closes. */
export const member = (
  name: string,
  role: string,
  env: Environment,
  onLine: (name: string, line: string) => void
): Effect.Effect<Member, never, Scope.Scope> =>
  // the same runtime, with the same loader
  program(name, [...process.execArgv, process.argv[1], role], env, onLine)

/** Makes a member that runs a program of Node.js. */
export const program = (
  name: string,
  args: ReadonlyArray<string>,
  env: Environment,
  onLine: (name: string, line: string) => void
): Effect.Effect<Member, never, Scope.Scope> =>
  Effect.gen(function*() {
    let child: childProcess.ChildProcess | undefined
    let ended = yield* Deferred.make<void>()
    let lines: Array<string> = []
    const looking = new Set<() => void>()
    const start = Effect.gen(function*() {
      const exit = yield* Deferred.make<void>()
      ended = exit
      lines = []
      const started = childProcess.spawn(process.execPath, args, {
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, ...env }
      })
      child = started
      for (const output of [started.stdout, started.stderr]) {
        readline.createInterface({ input: output }).on("line", (line) => {
          onLine(name, line)
          lines.push(line)
          for (const look of looking) look()
        })
      }
      started.on("close", () => Deferred.unsafeDone(exit, Effect.void))
    })
    const isRunning = () => child !== undefined && child.exitCode === null && child.signalCode === null
    const signal = (signal: NodeJS.Signals) => Effect.sync(() => void (isRunning() && child?.kill(signal)))
    const exited = Effect.suspend(() => isRunning() ? Deferred.await(ended) : Effect.void)
    const line = (fits: RegExp) =>
      Effect.async<string>((resume) => {
        const look = () => {
          const found = lines.find((line) => fits.test(line))
          if (found !== undefined) resume(Effect.succeed(found))
        }
        looking.add(look)
        look()
        return Effect.sync(() => looking.delete(look))
      })
    // a process that is frozen does not see the other signals
    const stop = Effect.interruptible(Effect.all([signal("SIGCONT"), signal("SIGTERM"), exited], { discard: true }))
    yield* Effect.addFinalizer(() =>
      Effect.timeoutTo(stop, {
        duration: "20 seconds",
        onTimeout: () => signal("SIGKILL"),
        onSuccess: () => Effect.void
      }).pipe(Effect.flatten)
    )
    return { name, start, signal, exited, pid: () => child?.pid, line }
  })

/** Ends this process when the one that started it is gone: its pipe closes, however it ended. */
export const endWithParent = Effect.async<void>((resume) => {
  process.stdin.on("end", () => resume(Effect.void)).resume()
})

/** Finds a port that is free now. */
export const freePort = Effect.async<number>((resume) => {
  const server = net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})
