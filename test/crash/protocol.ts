/** What a writer is told when it starts. */
export interface Orders {
  readonly backend: "sqlite" | "postgres"
  /** The file, or the URL. */
  readonly target: string
  readonly synchronous: "NORMAL" | "FULL"
  readonly mode: "sync" | "background"
  /** Names the commands of this writer: no other has it. */
  readonly name: string
  readonly seed: number
  readonly streams: number
  readonly fibers: number
  /** The size of the pool on PostgreSQL. */
  readonly connections: number
}

/** What a writer says, a line each. It is said after the fact: a line that came is true whatever happens next. */
export type Said =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Paused" }
  | {
    readonly _tag: "Ok"
    readonly command: string
    readonly stream: string
    readonly from: number
    readonly to: number
  }
  /** A group of at least so many appends was sent, or is about to be committed. */
  | { readonly _tag: "Group"; readonly appends: number }
  /** The append may have happened. */
  | { readonly _tag: "Maybe"; readonly command: string; readonly error: string }
  /** It has not. */
  | { readonly _tag: "No"; readonly command: string; readonly error: string }
  /** What must not be: an error that has no business there, a defect, a wrong state. */
  | { readonly _tag: "Bad"; readonly problem: string }

/** The ids of a command's events tell which command it was, and how many events it decided. */
export const eventId = (command: string, of: number, n: number): string => `${command}/${of}#${n}`

export const parseEventId = (id: string): { readonly command: string; readonly of: number; readonly n: number } => {
  const [, command, of, n] = /^(.*)\/(\d+)#(\d+)$/.exec(id) ?? ["", id, "0", "0"]
  return { command, of: Number(of), n: Number(n) }
}
