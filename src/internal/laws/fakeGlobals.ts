/**
 * Replaces the clock and the sources of randomness, which pure code must not read, by deterministic ones that note the
 * reading. Code that does not run under {@link FakeGlobals} still gets the real ones.
 */
import { createRequire, syncBuiltinESMExports } from "node:module"
import { isObject } from "./effectData.js"

export interface Reading {
  /** The function that was called: `Date.now()`. */
  readonly source: string
  /** What it reads: `the clock`. */
  readonly what: string
  readonly stack: string
}

export interface FakeGlobals {
  /** Runs a function with a time and a sequence of random numbers that depend only on `variant`. */
  readonly run: <A>(variant: 0 | 1, body: () => A) => A
  /** Runs a function as variant 0 and notes the first reading. That is slower. */
  readonly watch: <A>(body: () => A) => { readonly value: A; readonly reading: Reading | undefined }
  /** Runs a function in another time zone. In a worker thread the zone cannot be changed. */
  readonly elsewhere: <A>(body: () => A) => A
  /** Cleans up after code that was stopped in the middle. */
  readonly settle: () => void
  readonly restore: () => void
}

interface Fakes {
  time: number
  seed: number
  running: boolean
  watching: boolean
  reading: Reading | undefined
  readonly undo: Array<() => void>
}

const clock = "the clock"
const randomness = "random numbers"
const usage = "the resource usage of the process"
// named imports are taken from this object
const nodeCrypto: unknown = createRequire(import.meta.url)("node:crypto")

const times = [Date.UTC(2001, 1, 3, 4, 5, 6, 7), Date.UTC(2044, 11, 10, 9, 8, 7, 6)] as const

export const install = (): FakeGlobals => {
  const fakes: Fakes = { time: times[0], seed: 1, running: false, watching: false, reading: undefined, undo: [] }
  const RealDate = Date
  fakeDate(fakes)
  fakeClocks(fakes)
  fakeFormats(fakes)
  fakeRandomness(fakes)
  // for code that imports these functions by name
  syncBuiltinESMExports()

  const home = process.env.TZ
  const moveTo = (zone: string | undefined) => {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  }
  const run = <A>(variant: 0 | 1, body: () => A): A => {
    fakes.time = times[variant]
    fakes.seed = 1 + variant
    fakes.running = true
    try {
      return body()
    } finally {
      fakes.running = false
    }
  }
  const settle = () => {
    fakes.running = false
    fakes.watching = false
    if (process.env.TZ !== home) moveTo(home)
  }
  return {
    run,
    watch: (body) => {
      fakes.watching = true
      fakes.reading = undefined
      try {
        return { value: run(0, body), reading: fakes.reading }
      } finally {
        fakes.watching = false
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
      while (fakes.undo.length > 0) fakes.undo.pop()?.()
      syncBuiltinESMExports()
      settle()
    }
  }
}

const define = ({ undo }: Fakes, owner: object, key: PropertyKey, replacement: PropertyDescriptor): void => {
  const before = Object.getOwnPropertyDescriptor(owner, key)
  if (before !== undefined && before.configurable !== true) return
  Object.defineProperty(owner, key, replacement)
  undo.push(() => before === undefined ? Reflect.deleteProperty(owner, key) : Object.defineProperty(owner, key, before))
}

const replace = (fakes: Fakes, owner: object, key: PropertyKey, value: unknown): void =>
  define(fakes, owner, key, { value, configurable: true, writable: true, enumerable: true })

const note = (fakes: Fakes, source: string, what: string, called: Function): void => {
  if (fakes.watching && fakes.reading === undefined) fakes.reading = readingOf(source, what, called)
}

/** Replaces a method by one that gives `answer` while a function runs. */
const fake = (
  fakes: Fakes,
  what: string,
  owner: unknown,
  key: string,
  source: string,
  answer: (...args: ReadonlyArray<unknown>) => unknown
): void => {
  if (!isObject(owner) && typeof owner !== "function") return
  const original: unknown = Reflect.get(owner, key)
  if (typeof original !== "function") return
  const watched = function(this: unknown, ...args: ReadonlyArray<unknown>): unknown {
    if (!fakes.running) return Reflect.apply(original, this, args)
    note(fakes, source, what, watched)
    return answer(...args)
  }
  // keep the properties of the function, such as `hrtime.bigint`
  replace(fakes, owner, key, Object.assign(watched, original))
}

const fakeDate = (fakes: Fakes): void => {
  const RealDate = Date
  const handler: ProxyHandler<DateConstructor> & { readonly construct: Function; readonly apply: Function } = {
    construct: (target, args, newTarget) => {
      if (args.length > 0 || !fakes.running) return Reflect.construct(target, args, newTarget)
      note(fakes, "new Date()", clock, handler.construct)
      return Reflect.construct(target, [fakes.time], newTarget)
    },
    apply: () => {
      if (!fakes.running) return RealDate()
      note(fakes, "Date()", clock, handler.apply)
      return new RealDate(fakes.time).toString()
    }
  }
  const FakeDate = new Proxy(RealDate, handler)
  replace(fakes, globalThis, "Date", FakeDate)
  replace(fakes, RealDate.prototype, "constructor", FakeDate)
  fake(fakes, clock, RealDate, "now", "Date.now()", () => fakes.time)
}

const fakeClocks = (fakes: Fakes): void => {
  const { cpuUsage, memoryUsage, resourceUsage } = process
  const sinceStart = () => fakes.time - times[0]
  fake(fakes, clock, performance, "now", "performance.now()", sinceStart)
  fake(fakes, clock, process.hrtime, "bigint", "process.hrtime.bigint()", () => BigInt(fakes.time) * 1_000_000n)
  fake(fakes, clock, process, "hrtime", "process.hrtime()", () => [
    Math.floor(fakes.time / 1_000),
    (fakes.time % 1_000) * 1_000_000
  ])
  fake(fakes, clock, process, "uptime", "process.uptime()", () => sinceStart() / 1_000)
  fake(fakes, usage, process, "cpuUsage", "process.cpuUsage()", () => cpuUsage())
  fake(fakes, usage, process, "memoryUsage", "process.memoryUsage()", () => memoryUsage())
  fake(fakes, usage, process, "resourceUsage", "process.resourceUsage()", () => resourceUsage())
  fake(fakes, usage, process.memoryUsage, "rss", "process.memoryUsage.rss()", () => 0)
}

/** Replaces the formats that use the current time by default. */
const fakeFormats = (fakes: Fakes): void => {
  const { prototype } = Intl.DateTimeFormat
  const format = Object.getOwnPropertyDescriptor(prototype, "format")?.get
  const { formatToParts } = prototype
  if (format === undefined) return
  const getter = function(this: Intl.DateTimeFormat) {
    const bound: Intl.DateTimeFormat["format"] = format.call(this)
    const watched: Intl.DateTimeFormat["format"] = (date) => {
      if (date !== undefined || !fakes.running) return bound(date)
      note(fakes, "Intl.DateTimeFormat.format()", clock, watched)
      return bound(fakes.time)
    }
    return watched
  }
  define(fakes, prototype, "format", { get: getter, configurable: true })
  const parts = function(this: Intl.DateTimeFormat, date?: Date | number) {
    if (date !== undefined || !fakes.running) return formatToParts.call(this, date)
    note(fakes, "Intl.DateTimeFormat.formatToParts()", clock, parts)
    return formatToParts.call(this, fakes.time)
  }
  replace(fakes, prototype, "formatToParts", parts)
}

const fakeRandomness = (fakes: Fakes): void => {
  // a multiplicative generator is good enough, as pure code does not use the numbers
  const random = () => {
    fakes.seed = (fakes.seed * 48_271) % 2_147_483_647
    return fakes.seed / 2_147_483_647
  }
  const hex = (length: number) => Array.from({ length }, () => Math.floor(random() * 16).toString(16)).join("")
  const uuid = () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`
  const fill = (array: unknown) => {
    if (ArrayBuffer.isView(array)) {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
      bytes.forEach((_, index) => bytes[index] = Math.floor(random() * 256))
    }
    return array
  }
  const int = (one: unknown, other: unknown) => {
    const [low, high] = typeof other === "number" ? [Number(one), other] : [0, Number(one)]
    return low + Math.floor(random() * (high - low))
  }
  fake(fakes, randomness, Math, "random", "Math.random()", random)
  for (const owner of [globalThis.crypto, nodeCrypto]) {
    fake(fakes, randomness, owner, "randomUUID", "crypto.randomUUID()", uuid)
    fake(fakes, randomness, owner, "getRandomValues", "crypto.getRandomValues()", fill)
  }
  fake(
    fakes,
    randomness,
    nodeCrypto,
    "randomBytes",
    "crypto.randomBytes()",
    (size) => fill(Buffer.alloc(typeof size === "number" ? size : 0))
  )
  fake(fakes, randomness, nodeCrypto, "randomFillSync", "crypto.randomFillSync()", fill)
  fake(fakes, randomness, nodeCrypto, "randomInt", "crypto.randomInt()", int)
}

// Effect's runtime reads the clock for its fibers, which is not a reading by the aggregate
const runtime = /[\\/](?:fiberId|fiberRuntime|FiberId)\.[cm]?[jt]s/

const readingOf = (source: string, what: string, called: Function): Reading | undefined => {
  const [caller] = callSites(called)
  if (caller !== undefined && runtime.test(caller.getFileName() ?? "")) return undefined
  const holder: { readonly stack?: string } = {}
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  Error.captureStackTrace(holder, called)
  Error.stackTraceLimit = limit
  return { source, what, stack: holder.stack ?? "" }
}

// the text of a stack is expensive where source maps are applied to it
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
