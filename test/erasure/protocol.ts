/** Orders for a process. */
export interface Orders {
  /** The URL of a database of PostgreSQL, or a file of SQLite. */
  readonly database: string
  /** The port of its runner. Without it, the process is not in a cluster. */
  readonly port: number | undefined
  /** Where it writes its log and its spans. */
  readonly folder: string
  readonly name: string
  readonly snapshots: "sync" | "background"
  readonly seed: number
  readonly secrets: Secrets
  readonly fault: Fault | undefined
}

export interface Secrets {
  readonly name: string
  readonly street: string
}

/** What is broken on purpose, to see that the test finds it. */
export type Fault = "no fence" | "keys for an hour" | "a name in metadata" | "a name in a log line"

export const faults: ReadonlyArray<Fault> = [
  "no fence",
  "keys for an hour",
  "a name in metadata",
  "a name in a log line"
]

/** How long keys stay in memory, in milliseconds. */
export const timeToLive = 200

/** The subject that is erased, and one that is not. */
export const erased = "subject-1"
export const other = "subject-2"

/** The streams of the subjects. */
export const subjects: Readonly<Record<string, string>> = {
  a: erased,
  "a-too": erased,
  "a-removed": erased,
  "a-sent": erased,
  b: other,
  "b-removed": other
}

/** What happens to the truncated events of a stream: the sink writes them to a file. The others are archived. */
export const endings: Readonly<Record<string, "remove" | "send">> = {
  "a-removed": "remove",
  "a-sent": "send",
  "b-removed": "remove"
}

export type Order = "go" | "pause" | "erase" | "cards" | "rebuild" | "check"

/** What a process says. It shows no value. */
export type Said =
  | { readonly _tag: "Ready" | "Paused" | "Cards" | "Rebuilt" }
  | { readonly _tag: "Erased"; readonly hadKeys: boolean; readonly at: number }
  | {
    readonly _tag: "Done"
    readonly began: number
    readonly id: string
    readonly what: string
    /** Whether the data of the subject was present in the answer, or the tag of an error. */
    readonly outcome: "present" | "erased" | "none" | Failed
  }
  /** The states of the erased subject by a replay and by a snapshot, as a fresh process sees them. */
  | { readonly _tag: "Checked"; readonly problems: ReadonlyArray<string> }
  | { readonly _tag: "Bad"; readonly problem: string }

export interface Failed {
  readonly error: string
}
