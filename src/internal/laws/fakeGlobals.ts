/**
 * The clock and the dice that pure code must not look at, replaced by others that are known and that note who looks. Whoever
 * looks while nothing is run in the world sees the real ones.
 */
import { createRequire, syncBuiltinESMExports } from "node:module"
import { isObject } from "./effectData.js"

/** @internal */
export interface Reading {
  /** What was called, `Date.now()`. */
  readonly source: string
  /** What it tells, `the clock`. */
  readonly what: string
  /** Where in the user's code, as far as the stack tells. */
  readonly at: string | undefined
}

/** @internal */
export interface World {
  /** Runs a function at a time and with a sequence of random numbers that depend on nothing but `variant`. */
  readonly run: <A>(variant: 0 | 1, body: () => A) => A
  /** The same, and notes the first reading: that takes a while. */
  readonly watch: <A>(body: () => A) => { readonly value: A; readonly reading: Reading | undefined }
  /** Runs it in another time zone, where the process may be moved to one: a worker thread may not. */
  readonly elsewhere: <A>(body: () => A) => A
  /** After what was stopped in the middle. */
  readonly settle: () => void
  readonly restore: () => void
}

const clock = "the clock"
const dice = "random numbers"
const usage = "what the process uses"
// the object that named imports are taken from
const nodeCrypto: unknown = createRequire(import.meta.url)("node:crypto")

const times = [Date.UTC(2001, 1, 3, 4, 5, 6, 7), Date.UTC(2044, 11, 10, 9, 8, 7, 6)] as const

/** @internal */
export const install = (): World => {
  let time: number = times[0]
  let seed = 1
  let running = false
  let watching = false
  let reading: Reading | undefined
  const undo: Array<() => void> = []

  // a multiplicative generator: good enough for numbers that nobody may use
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const hex = (length: number) => Array.from({ length }, () => Math.floor(random() * 16).toString(16)).join("")

  const replace = (owner: object, key: PropertyKey, value: unknown) =>
    define(owner, key, { value, configurable: true, writable: true, enumerable: true })
  const define = (owner: object, key: PropertyKey, replacement: PropertyDescriptor) => {
    const before = Object.getOwnPropertyDescriptor(owner, key)
    if (before !== undefined && before.configurable !== true) return
    Object.defineProperty(owner, key, replacement)
    undo.push(() =>
      before === undefined ? Reflect.deleteProperty(owner, key) : Object.defineProperty(owner, key, before)
    )
  }
  const watch = (
    owner: unknown,
    key: string,
    source: string,
    answer: (...args: ReadonlyArray<unknown>) => unknown,
    what: string = clock
  ) => {
    if (!isObject(owner) && typeof owner !== "function") return
    const original: unknown = Reflect.get(owner, key)
    if (typeof original !== "function") return
    const watched = function(this: unknown, ...args: ReadonlyArray<unknown>): unknown {
      if (!running) return Reflect.apply(original, this, args)
      note(source, what, watched)
      return answer(...args)
    }
    // what hangs on it, as bigint does on hrtime
    replace(owner, key, Object.assign(watched, original))
  }
  const note = (source: string, what: string, called: Function) => {
    if (watching && reading === undefined) reading = look(source, what, called)
  }

  const RealDate = Date
  const handler: ProxyHandler<DateConstructor> & { readonly construct: Function; readonly apply: Function } = {
    construct: (target, args, newTarget) => {
      if (args.length > 0 || !running) return Reflect.construct(target, args, newTarget)
      note("new Date()", clock, handler.construct)
      return Reflect.construct(target, [time], newTarget)
    },
    apply: () => {
      if (!running) return RealDate()
      note("Date()", clock, handler.apply)
      return new RealDate(time).toString()
    }
  }
  const WatchedDate = new Proxy(RealDate, handler)
  replace(globalThis, "Date", WatchedDate)
  replace(RealDate.prototype, "constructor", WatchedDate)
  watch(RealDate, "now", "Date.now()", () => time)
  watch(performance, "now", "performance.now()", () => time - times[0])
  watch(process.hrtime, "bigint", "process.hrtime.bigint()", () => BigInt(time) * 1_000_000n)
  watch(process, "hrtime", "process.hrtime()", () => [Math.floor(time / 1_000), (time % 1_000) * 1_000_000])
  watch(process, "uptime", "process.uptime()", () => (time - times[0]) / 1_000)
  const { cpuUsage, memoryUsage, resourceUsage } = process
  watch(process, "cpuUsage", "process.cpuUsage()", () => cpuUsage(), usage)
  watch(process, "memoryUsage", "process.memoryUsage()", () => memoryUsage(), usage)
  watch(process, "resourceUsage", "process.resourceUsage()", () => resourceUsage(), usage)
  watch(process.memoryUsage, "rss", "process.memoryUsage.rss()", () => 0, usage)

  const format = Object.getOwnPropertyDescriptor(Intl.DateTimeFormat.prototype, "format")?.get
  const { formatToParts } = Intl.DateTimeFormat.prototype
  if (format !== undefined) {
    const getter = function(this: Intl.DateTimeFormat) {
      const bound: Intl.DateTimeFormat["format"] = format.call(this)
      const watched: Intl.DateTimeFormat["format"] = (date) => {
        if (date !== undefined || !running) return bound(date)
        note("Intl.DateTimeFormat.format()", clock, watched)
        return bound(time)
      }
      return watched
    }
    define(Intl.DateTimeFormat.prototype, "format", { get: getter, configurable: true })
    const parts = function(this: Intl.DateTimeFormat, date?: Date | number) {
      if (date !== undefined || !running) return formatToParts.call(this, date)
      note("Intl.DateTimeFormat.formatToParts()", clock, parts)
      return formatToParts.call(this, time)
    }
    replace(Intl.DateTimeFormat.prototype, "formatToParts", parts)
  }

  watch(Math, "random", "Math.random()", random, dice)
  const fill = (array: unknown) => {
    if (ArrayBuffer.isView(array)) {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
      bytes.forEach((_, index) => bytes[index] = Math.floor(random() * 256))
    }
    return array
  }
  const bytes = (size: unknown) => fill(Buffer.alloc(typeof size === "number" ? size : 0))
  const int = (one: unknown, other: unknown) => {
    const [low, high] = typeof other === "number" ? [Number(one), other] : [0, Number(one)]
    return low + Math.floor(random() * (high - low))
  }
  for (const owner of [globalThis.crypto, nodeCrypto]) {
    const uuid = () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`
    watch(owner, "randomUUID", "crypto.randomUUID()", uuid, dice)
    watch(owner, "getRandomValues", "crypto.getRandomValues()", fill, dice)
  }
  watch(nodeCrypto, "randomBytes", "crypto.randomBytes()", bytes, dice)
  watch(nodeCrypto, "randomFillSync", "crypto.randomFillSync()", fill, dice)
  watch(nodeCrypto, "randomInt", "crypto.randomInt()", int, dice)
  // those who import them by name
  syncBuiltinESMExports()

  const home = process.env.TZ
  const moveTo = (zone: string | undefined) => {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  }

  const run = <A>(variant: 0 | 1, body: () => A): A => {
    time = times[variant]
    seed = 1 + variant
    running = true
    try {
      return body()
    } finally {
      running = false
    }
  }
  const settle = () => {
    running = false
    watching = false
    if (process.env.TZ !== home) moveTo(home)
  }

  return {
    run,
    watch: (body) => {
      watching = true
      reading = undefined
      try {
        return { value: run(0, body), reading }
      } finally {
        watching = false
      }
    },
    elsewhere: (body) => {
      moveTo(new RealDate(0).getTimezoneOffset() < -6 * 60 ? "Pacific/Pago_Pago" : "Pacific/Kiritimati")
      try {
        return body()
      } finally {
        moveTo(home)
      }
    },
    settle,
    restore: () => {
      while (undo.length > 0) undo.pop()?.()
      syncBuiltinESMExports()
      settle()
    }
  }
}

// effect's runtime dates its fibers: that is no reading by the code that it runs
const bookkeeping = /[\\/](?:fiberId|fiberRuntime|FiberId)\.[cm]?[jt]s/

const look = (source: string, what: string, called: Function): Reading | undefined => {
  const [caller] = callSites(called)
  if (caller !== undefined && bookkeeping.test(caller.getFileName() ?? "")) return undefined
  const holder: { stack?: string } = {}
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  Error.captureStackTrace(holder, called)
  Error.stackTraceLimit = limit
  const frames = (holder.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line))
  return { source, what, at: frames.map((line) => line.replace(/^\s+at /, "")).find(isUsers) }
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
  /[\\/]/.test(frame) && !/[\\/]node_modules[\\/]|node:|[\\/]internal[\\/]laws[\\/]/.test(frame)
