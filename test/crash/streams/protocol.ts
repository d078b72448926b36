/** What a worker is told when it starts. */
export interface Orders {
  readonly backend: "sqlite" | "postgres"
  /** The file, or the URL. */
  readonly target: string
  /** Names the commands of this worker: no other has it. */
  readonly name: string
  readonly seed: number
  readonly slots: number
}

/** When an operation began and ended, by the clock that all processes of the machine share. In milliseconds. */
interface Span {
  readonly stream: string
  readonly began: number
  readonly ended: number
}

/** What a worker says, a line each, after the fact: a line that came is true whatever happens next. */
export type Said =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Paused" }
  | Span & { readonly _tag: "Executed"; readonly command: string; readonly version: number; readonly events: number }
  /** A command with a command id was sent again after its success. */
  | Span & {
    readonly _tag: "Repeated"
    readonly command: string
    readonly version: number
    readonly duplicate: boolean
  }
  | Span & { readonly _tag: "Loaded"; readonly version: number; readonly balance: number }
  /** A command or a load failed with `StreamDeleted`. */
  | Span & { readonly _tag: "Refused"; readonly what: string }
  /** A rewrite or a history failed with `HistoryGap`. */
  | Span & { readonly _tag: "Gapped"; readonly what: string }
  /** Before a change is sent: it may happen even if nothing more is said of it. */
  | { readonly _tag: "Changing"; readonly stream: string; readonly kind: "delete" | "rewrite"; readonly began: number }
  | {
    readonly _tag: "Changing"
    readonly stream: string
    readonly kind: "truncate"
    readonly began: number
    readonly before: number
    readonly removes: boolean
  }
  | Span & { readonly _tag: "Deleted"; readonly version: number; readonly removes: boolean }
  | Span & {
    readonly _tag: "Rewritten"
    readonly target: number
    readonly amount: number
    /** The version of the marker. */
    readonly version: number
  }
  | Span & {
    readonly _tag: "Truncated"
    readonly before: number
    readonly removes: boolean
    /** The version of the marker, or 0 if there was nothing to do. */
    readonly version: number
  }
  /** An operation failed because the database was busy or a race was lost. */
  | { readonly _tag: "Failed"; readonly what: string; readonly error: string }
  /** What must not be: an error that has no business there, or a defect. */
  | { readonly _tag: "Bad"; readonly problem: string }

/** The streams of every other slot only are truncated with `remove`. */
export const mayLose = (slot: number): boolean => slot % 2 === 1

/** The slot of a stream, and how many streams of the slot were before it. */
export const placeOf = (stream: string): { readonly slot: number; readonly generation: number } => {
  const [, slot, generation] = /^s(\d+)\.(\d+)$/.exec(stream) ?? []
  return { slot: Number(slot), generation: Number(generation) }
}

/** The ids of a command's events. */
export const eventId = (command: string, n: number): string => `${command}#${n}`
