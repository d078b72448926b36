// Ends a part of a runner in time, also if the part waits for something that does not end.
// Mechanism: the part has a scope of its own, which another fiber closes. After a while nothing waits for that fiber.
// Why: docs/decisions/0190-runners-that-end.md.
import { ShardingConfig } from "@effect/cluster/ShardingConfig"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Telemetry from "./telemetry.js"

/** What a part may take to close, beside the waits that it is configured to have. */
const grace = Duration.seconds(10)

/** Registers entities. Their closing waits for their requests, as long as the cluster is configured to. */
export const entities = <A, E, R>(
  aggregate: string,
  register: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.flatMap(Effect.serviceOption(ShardingConfig), (config) => {
    const waits = Option.match(config, {
      onNone: () => Duration.zero,
      onSome: ({ entityTerminationTimeout }) => Duration.decode(entityTerminationTimeout)
    })
    return within(`the entities of ${aggregate}`, Duration.sum(waits, grace), register)
  })

/** Builds the connections of a runner with its cluster. */
export const connections = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  Layer.scopedContext(within("the connections with the cluster", grace, Layer.build(layer)))

const within = <A, E, R>(
  part: string,
  most: Duration.Duration,
  build: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer((exit) => close(scope, exit, part, most))
    return yield* Scope.extend(build, scope)
  })

const close = (
  scope: Scope.CloseableScope,
  exit: Exit.Exit<unknown, unknown>,
  part: string,
  most: Duration.Duration
): Effect.Effect<void> =>
  Effect.flatMap(Effect.forkDaemon(Scope.close(scope, exit)), (closing) =>
    Fiber.await(closing).pipe(
      Effect.interruptible,
      Effect.timeoutOption(most),
      Effect.flatMap(Option.match({
        onNone: () => Telemetry.notClosed(part, most),
        // its defects are those of this scope
        onSome: (exit) => exit
      }))
    ))
