// Serves the pages of the inspector to the browser of this machine, and to no one else.
//
// The server listens on the loopback interface. The address that it prints has a random token, which the first visit
// turns into a cookie. A request for another host name is refused, so that a page of another site cannot reach it by a
// name that leads here. Only GET is answered, the pages have no script, and nothing may embed or keep them.
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import type { RouteNotFound } from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import { randomBytes, timingSafeEqual } from "node:crypto"
import { streamProblem } from "../../streamProblem.js"
import type * as Module from "../module.js"
import * as Repository from "../repository.js"
import { html, lines, page } from "./html.js"
import * as Lag from "./lag.js"
import * as Pages from "./pages.js"
import * as Snapshots from "./snapshots.js"

/** A browser sends the cookies of all ports of a host, so that two inspectors need two names. */
const cookieOf = (port: number): string => `effect-eventsourcing-${port}`

const headers = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
}

const respond = (text: string, status = 200): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(text, { status, contentType: "text/html; charset=utf-8", headers })

/** Serves until the scope closes, and gives the address with the token. */
export const serve = (prefix: string, aggregates: ReadonlyMap<string, Module.Unknown>) =>
  Effect.gen(function*() {
    const token = randomBytes(24).toString("base64url")
    const history = yield* Lag.watch
    const looking = new Map<string, Repository.Looking>()
    for (const [name, aggregate] of aggregates) looking.set(name, yield* Repository.make(aggregate))
    const server = yield* HttpServer.HttpServer
    if (server.address._tag !== "TcpAddress") return yield* Effect.die("the server has no port")
    const { port } = server.address
    const host = `127.0.0.1:${port}`
    yield* HttpServer.serveEffect(guard({ host, token, cookie: cookieOf(port) }, router(prefix, looking, history)))
    return `http://${host}/?token=${token}`
  })

const router = (prefix: string, looking: ReadonlyMap<string, Repository.Looking>, history: Lag.History) =>
  HttpRouter.empty.pipe(
    HttpRouter.get("/", answer((query) => Pages.streams(prefix, query("aggregate"), query("after")))),
    HttpRouter.get(
      "/stream",
      answer((query) => {
        const stream = { aggregate: query("aggregate") ?? "", id: query("id") ?? "" }
        const from = Number(query("from") ?? "1")
        return streamProblem(stream) === undefined && Number.isSafeInteger(from) && from > 0
          ? Pages.stream(prefix, stream, looking.get(stream.aggregate), from)
          : Effect.succeed(undefined)
      })
    ),
    HttpRouter.get(
      "/snapshots",
      answer((query) => {
        const after = { aggregate: query("aggregate") ?? "", id: query("id") ?? "" }
        return Snapshots.page(prefix, streamProblem(after) === undefined ? after : undefined, looking)
      })
    ),
    HttpRouter.get("/subscriptions", answer(() => Pages.subscriptions(history)))
  )

/** A page that fails shows the message. One that has nothing to show is not found: only a stream can be missing. */
const answer = <E extends { readonly message: string }, R>(
  make: (query: (name: string) => string | undefined) => Effect.Effect<string | undefined, E, R>
) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ url }) => {
    const { params } = partsOf(url)
    return Effect.match(make((name) => params.get(name) ?? undefined), {
      onFailure: ({ message }) =>
        respond(page("The page cannot be shown", html`<p class="bad">${lines(message)}</p>`), 500),
      onSuccess: (text) => text === undefined ? respond(noStream, 404) : respond(text)
    })
  })

const noStream = page("Not found", html`<p>There is no such stream.</p>`)

/** The target of a request may be anything. A path that begins with two slashes would lead to another host. */
const partsOf = (target: string): { readonly path: string; readonly params: URLSearchParams } => {
  const at = target.indexOf("?")
  const path = at === -1 ? target : target.slice(0, at)
  return {
    path: path.replace(/^[/\\]*/, "/"),
    params: new URLSearchParams(at === -1 ? "" : target.slice(at + 1))
  }
}

const guard = <R>(
  { cookie, host, token }: { readonly host: string; readonly token: string; readonly cookie: string },
  pages: Effect.Effect<HttpServerResponse.HttpServerResponse, RouteNotFound, R>
) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    if (request.headers.host !== host) return respond("this host is not the inspector", 403)
    if (request.method !== "GET") return respond("the inspector only reads", 405)
    const { params, path } = partsOf(request.url)
    const given = params.get("token")
    if (given !== null && isEqual(given, token)) {
      params.delete("token")
      return HttpServerResponse.redirect(params.size === 0 ? path : `${path}?${params.toString()}`, {
        headers: { ...headers, "set-cookie": `${cookie}=${token}; HttpOnly; SameSite=Strict; Path=/` }
      })
    }
    return isEqual(request.cookies[cookie] ?? "", token)
      ? yield* pages
      : respond("open the address that the command has printed: it has the token", 401)
  }).pipe(
    Effect.catchTag("RouteNotFound", () => Effect.succeed(respond("there is no such page", 404)))
  )

const isEqual = (given: string, token: string): boolean => {
  const [left, right] = [Buffer.from(given), Buffer.from(token)]
  return left.length === right.length && timingSafeEqual(left, right)
}
