import * as CliCommand from "@effect/cli/Command"
import * as CliOptions from "@effect/cli/Options"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { createServer } from "node:http"
import * as Command from "../command.js"
import { CliError } from "../errors.js"
import * as Server from "../inspector/server.js"
import * as Module from "../module.js"
import * as Options from "../options.js"

export const inspect = CliCommand.make(
  "inspect",
  {
    ...Options.shared,
    ...Options.keys,
    module: Options.module.pipe(CliOptions.optional),
    port: CliOptions.integer("port").pipe(
      CliOptions.withDescription("The port on this machine. Default: any that is free"),
      CliOptions.withDefault(0)
    )
  },
  Command.opening(({ json, module, port, prefix }) => {
    if (port < 0 || port > 65_535) return new CliError({ detail: `--port is ${port}; it must be from 0 to 65535` })
    return Effect.scoped(Effect.gen(function*() {
      const aggregates = Option.isSome(module) ? yield* Module.aggregates(module.value) : new Map()
      const url = yield* Server.serve(prefix, aggregates)
      yield* Console.log(json ? JSON.stringify({ url }) : `The inspector is at ${url}\nCtrl-C ends it.`)
      yield* Effect.never
    })).pipe(
      Effect.provide(NodeHttpServer.layer(() => createServer(), { host: "127.0.0.1", port })),
      Effect.catchTag("ServeError", () => new CliError({ detail: `port ${port} is in use: give another --port` }))
    )
  })
).pipe(
  CliCommand.withDescription(
    "Serves a page for the browser on this machine: streams, the state after each event, snapshots and subscriptions."
  )
)
