import { start } from "./process.js"

/** The answer to a request. */
export interface Answer {
  readonly status: number
  readonly etag: string | null
  readonly body: Readonly<Record<string, unknown>>
}

/** The service of examples/shop in a process of its own. */
export type Shop = Awaited<ReturnType<typeof startShop>>

const program = "examples/shop/main.ts"

/** Starts the service on a free port. `DATABASE_FILE` or `DATABASE_URL` says where. */
export const startShop = async (env: Readonly<Record<string, string>>) => {
  const server = start(program, [], { env: { PORT: "0", DATABASE_URL: undefined, ...env } })
  const listening = await server.next((line) => line.includes("Listening on"))
  const port = Number(/:(\d+)$/.exec(listening.trim())?.[1])
  const url = `http://127.0.0.1:${port}`
  const call = async (
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {}
  ): Promise<Answer> => {
    const response = await fetch(
      `${url}${path}`,
      body === undefined ? { headers } : {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body)
      }
    )
    const text = await response.text()
    return { status: response.status, etag: response.headers.get("etag"), body: text === "" ? {} : JSON.parse(text) }
  }
  /** The rows of a list, as soon as it shows a position. */
  const list = async (
    name: "products" | "orders",
    after?: unknown
  ): Promise<ReadonlyArray<Record<string, unknown>>> => {
    const { body, status } = await call(after === undefined ? `/${name}` : `/${name}?after=${String(after)}`)
    if (!Array.isArray(body)) throw new Error(`status ${status}: ${JSON.stringify(body)}`)
    return body
  }
  /** Ends the process in an orderly way, and gives its exit code. */
  const stop = (signal: "SIGTERM" | "SIGINT" | "SIGKILL" = "SIGTERM"): Promise<number | null> => {
    server.child.kill(signal)
    return server.exited
  }
  /** The state of an order that the fulfilment is done with. */
  const settled = async (order: string): Promise<Readonly<Record<string, unknown>>> => {
    for (;;) {
      const { body } = await call(`/orders/${order}`)
      if (body.status !== "placed") return body
    }
  }
  return { ...server, port, url, call, list, settled, stop }
}

/** Runs the command that promotes version 2 of the catalogue, and gives what it printed. */
export const rebuildShop = async (env: Readonly<Record<string, string>>) => {
  const command = start(program, ["rebuild"], { env: { DATABASE_URL: undefined, ...env } })
  const code = await command.exited
  return { code, lines: command.lines, errors: command.errors() }
}
