import { Effect } from "effect"
import * as v8 from "node:v8"
import * as vm from "node:vm"

/** Collects garbage, after the current turn of the event loop has ended: a turn keeps what its weak references found. */
export const collectGarbage = Effect.promise(async () => {
  await new Promise((resolve) => setTimeout(resolve))
  v8.setFlagsFromString("--expose-gc")
  const collect: unknown = vm.runInNewContext("gc")
  if (typeof collect === "function") Reflect.apply(collect, undefined, [])
})
