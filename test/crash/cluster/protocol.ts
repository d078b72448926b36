import type { Settings } from "./settings.js"

/** Orders for a runner. */
export interface RunnerOrders {
  readonly database: string
  readonly settings: Settings
  readonly port: number
}

/** Orders for the client. */
export interface ClientOrders {
  readonly database: string
  readonly settings: Settings
  readonly seed: number
  readonly ids: number
  readonly fibers: number
}

export interface State {
  readonly open: boolean
  readonly balance: number
}

export type Command =
  | { readonly _tag: "Open" }
  | { readonly _tag: "Deposit" | "Withdraw"; readonly amount: number }

export type Rejection =
  | { readonly _tag: "NotOpen" }
  | { readonly _tag: "InsufficientFunds"; readonly balance: number }

export type Answer =
  | {
    readonly _tag: "Executed"
    /** The version of the command's last event, or of the state if it has none. */
    readonly version: number
    readonly events: number
    readonly duplicate: boolean
    readonly state: State
  }
  | { readonly _tag: "Loaded"; readonly version: number; readonly state: State }
  | { readonly _tag: "Rejected"; readonly rejection: Rejection }
  /** The command may have been applied. A load has simply failed. */
  | { readonly _tag: "Unknown"; readonly error: string }
  /** The error says that the command has not been applied. */
  | { readonly _tag: "Refused"; readonly error: string }

/**
 * A line of the client. It writes a call before it sends it, and an answer after it has it, so the order of the lines is
 * the order in which an observer sees them.
 */
export type Said =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Paused" }
  | { readonly _tag: "Swept" }
  | {
    readonly _tag: "Call"
    readonly call: number
    readonly id: string
    readonly commandId: string
    /** Empty for a load. */
    readonly commands: ReadonlyArray<Command>
  }
  | { readonly _tag: "Answer"; readonly call: number; readonly took: number; readonly answer: Answer }
  /** What must not happen: a defect, or an error that has no reason here. */
  | { readonly _tag: "Bad"; readonly problem: string }
