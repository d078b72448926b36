/**
 * The clock and the dice that pure code must not look at, replaced by others that are known and that note who looks.
 */
import { isObject } from "./containers.js"

/** @internal */
export interface Reading {
  /** What was called, `Date.now()`. */
  readonly source: string
  /** Where in the user's code, as far as the stack tells. */
  readonly at: string | undefined
}

/** @internal */
export interface World {
  /** Runs a function at a time and with a sequence of random numbers that depend on nothing but `variant`. */
  readonly run: <A>(variant: 0 | 1, body: () => A) => A
  /** The same, and notes the first reading: that takes a while. */
  readonly watch: <A>(body: () => A) => { readonly value: A; readonly reading: Reading | undefined }
  readonly restore: () => void
}

const times = [Date.UTC(2001, 1, 3, 4, 5, 6, 7), Date.UTC(2044, 11, 10, 9, 8, 7, 6)] as const

/** @internal */
export const install = (): World => {
  let time: number = times[0]
  let seed = 1
  let watching = false
  let reading: Reading | undefined
  const undo: Array<() => void> = []

  // a multiplicative generator: good enough for numbers that nobody may use
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const hex = (length: number) => Array.from({ length }, () => Math.floor(random() * 16).toString(16)).join("")

  const replace = (owner: object, key: PropertyKey, replacement: unknown) => {
    const before = Object.getOwnPropertyDescriptor(owner, key)
    if (before !== undefined && before.configurable !== true) return
    Object.defineProperty(owner, key, { value: replacement, configurable: true, writable: true, enumerable: true })
    undo.push(() =>
      before === undefined ? Reflect.deleteProperty(owner, key) : Object.defineProperty(owner, key, before)
    )
  }
  const watch = (owner: unknown, key: string, source: string, answer: (...args: ReadonlyArray<unknown>) => unknown) => {
    if (!isObject(owner) && typeof owner !== "function") return
    if (typeof Reflect.get(owner, key) !== "function") return
    const watched = (...args: ReadonlyArray<unknown>) => {
      note(source, watched)
      return answer(...args)
    }
    replace(owner, key, watched)
  }
  const note = (source: string, called: Function) => {
    if (watching && reading === undefined) reading = look(source, called)
  }

  const RealDate = Date
  const handler: ProxyHandler<DateConstructor> & { readonly construct: Function; readonly apply: Function } = {
    construct: (target, args, newTarget) => {
      if (args.length > 0) return Reflect.construct(target, args, newTarget)
      note("new Date()", handler.construct)
      return Reflect.construct(target, [time], newTarget)
    },
    apply: () => {
      note("Date()", handler.apply)
      return new RealDate(time).toString()
    }
  }
  const WatchedDate = new Proxy(RealDate, handler)
  replace(globalThis, "Date", WatchedDate)
  replace(RealDate.prototype, "constructor", WatchedDate)
  watch(RealDate, "now", "Date.now()", () => time)
  watch(performance, "now", "performance.now()", () => time - times[0])
  const nanos = () => BigInt(time) * 1_000_000n
  watch(process.hrtime, "bigint", "process.hrtime.bigint()", nanos)
  watch(Math, "random", "Math.random()", random)
  watch(crypto, "randomUUID", "crypto.randomUUID()", () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`)
  watch(crypto, "getRandomValues", "crypto.getRandomValues()", (array) => {
    if (ArrayBuffer.isView(array)) {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
      bytes.forEach((_, index) => bytes[index] = Math.floor(random() * 256))
    }
    return array
  })

  const begin = (variant: 0 | 1) => {
    time = times[variant]
    seed = 1 + variant
  }

  return {
    run: (variant, body) => {
      begin(variant)
      return body()
    },
    watch: (body) => {
      begin(0)
      watching = true
      reading = undefined
      try {
        return { value: body(), reading }
      } finally {
        watching = false
      }
    },
    restore: () => {
      while (undo.length > 0) undo.pop()?.()
    }
  }
}

// effect's runtime dates its fibers: that is no reading by the code that it runs
const bookkeeping = /[\\/](?:fiberId|fiberRuntime|FiberId)\.[cm]?[jt]s/

const look = (source: string, called: Function): Reading | undefined => {
  const [caller] = callSites(called)
  if (caller !== undefined && bookkeeping.test(caller.getFileName() ?? "")) return undefined
  const holder: { stack?: string } = {}
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  Error.captureStackTrace(holder, called)
  Error.stackTraceLimit = limit
  const frames = (holder.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line))
  return { source, at: frames.map((line) => line.replace(/^\s+at /, "")).find(isUsers) }
}

// the text of a stack is dear where source maps are applied to it
const callSites = (called: Function): ReadonlyArray<NodeJS.CallSite> => {
  const { prepareStackTrace: prepare, stackTraceLimit: limit } = Error
  let sites: ReadonlyArray<NodeJS.CallSite> = []
  Error.prepareStackTrace = (_, found) => {
    sites = found
    return ""
  }
  Error.stackTraceLimit = 1
  const holder: { readonly stack?: string } = {}
  Error.captureStackTrace(holder, called)
  void holder.stack
  Error.stackTraceLimit = limit
  Error.prepareStackTrace = prepare
  return sites
}

/**
 * Whether a frame of a stack is in the user's code.
 *
 * @internal
 */
export const isUsers = (frame: string): boolean =>
  /[\\/]/.test(frame) && !/[\\/]node_modules[\\/]|node:|[\\/]internal[\\/]testing[\\/]/.test(frame)
