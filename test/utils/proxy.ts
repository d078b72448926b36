import { Effect } from "effect"
import * as net from "node:net"

/** Stands between a client and a server, and can be told to swallow an answer and to be gone. */
export const proxy = (server: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const target = new URL(server)
      const sockets = new Set<net.Socket>()
      const state = { swallow: 0, gone: false }
      const listener = net.createServer((client) => {
        if (state.gone) return void client.destroy()
        const upstream = net.connect(Number(target.port), target.hostname)
        const both = [client, upstream]
        const end = () => both.forEach((socket) => socket.destroy())
        let asked = false
        for (const socket of both) {
          sockets.add(socket)
          socket.on("error", end).on("close", () => {
            sockets.delete(socket)
            end()
          })
        }
        client.on("data", (data) => {
          // a message that binds a statement, once the connection is made
          asked = data[0] === 0x50
          upstream.write(data)
        })
        upstream.on("data", (data) => {
          if (asked && state.swallow > 0) {
            state.swallow--
            if (state.swallow > 0 || !afterwards.gone) return end()
            state.gone = true
            return sockets.forEach((socket) => socket.destroy())
          }
          client.write(data)
        })
      })
      const afterwards = { gone: false }
      await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve))
      const address = listener.address()
      const url = new URL(server)
      url.hostname = "127.0.0.1"
      url.port = String(typeof address === "object" && address !== null ? address.port : 0)
      return {
        url: url.href,
        /** Swallows the next answers to statements, with their connections; after the last of them it may be gone. */
        swallow: (answers: number, options: { readonly thenGone: boolean }) => {
          state.swallow = answers
          afterwards.gone = options.thenGone
        },
        comeBack: () => {
          state.gone = false
        },
        close: () => {
          listener.close()
          sockets.forEach((socket) => socket.destroy())
        }
      }
    }),
    (proxy) => Effect.sync(proxy.close)
  )
