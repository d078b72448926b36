import { Chunk, Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { PCGRandom } from "effect/Utils"
import type { AccountCommand } from "../fixtures/Account.js"
import { stream } from "../fixtures/Account.js"
import { start } from "./process.js"

/** What a sender is told when it starts. */
export interface Orders {
  /** The file, or the URL. */
  readonly database: string
  readonly seed: number
  /** The numbers of the commands to send. */
  readonly numbers: ReadonlyArray<number>
}

const accounts = 10

export const accountOf = (number: number): string => `a-${number % accounts}`

/** The first command of an account opens it; then it takes in up to 3 events of 1 and gives out 1 in turns. */
export const commandOf = (number: number): AccountCommand => {
  const place = Math.floor(number / accounts)
  if (place === 0) return { _tag: "Open" }
  return place % 2 === 1
    ? { _tag: "Deposit", amount: 1, times: 1 + (place % 3) }
    : { _tag: "Withdraw", amount: 1 }
}

export const eventsOf = (number: number): number => {
  const command = commandOf(number)
  return command._tag === "Deposit" ? command.times ?? 1 : 1
}

/** An answer that a sender printed. */
export interface Answer {
  readonly number: number
  readonly version: number
  readonly duplicate: boolean
}

// the last line of a killed process may be cut off
const answerOf = (line: string): ReadonlyArray<Answer> => {
  const found = /^done (\d+) (\d+) (true|false);$/.exec(line)
  if (found === null) return []
  const [, number, version, duplicate] = found
  return [{ number: Number(number), version: Number(version), duplicate: duplicate === "true" }]
}

/** Sends all commands from one process, which is killed and started again. Gives every answer that it printed. */
export const sendAll = (
  database: string,
  { commands, kills, seed }: { readonly commands: number; readonly kills: number; readonly seed: number }
) =>
  Effect.promise(async () => {
    const random = new PCGRandom(seed)
    const answers: Array<Answer> = []
    let remaining = Array.from({ length: commands }, (_, number) => number)
    for (let kill = 0; remaining.length > 0; kill++) {
      const orders: Orders = { database, seed: seed + kill, numbers: remaining }
      const sender = start("test/utils/sender.ts", [JSON.stringify(orders)])
      if (kill < kills) {
        const enough = Math.floor(random.number() * 2 * commands / kills)
        await Promise.race([sender.next(() => sender.lines.length >= enough).catch(() => {}), sender.exited])
        sender.child.kill("SIGKILL")
      }
      const code = await sender.exited
      if (kill >= kills && code !== 0) throw new Error(`a sender ended with ${code}: ${sender.errors()}`)
      if (sender.errors() !== "") throw new Error(sender.errors())
      answers.push(...sender.lines.flatMap(answerOf))
      const answered = new Set(answers.map(({ number }) => number))
      remaining = remaining.filter((number) => !answered.has(number))
    }
    return answers
  })

/** Gives what is wrong in the stored streams, if each command was to count once. */
export const problemsOf = (commands: number, answers: ReadonlyArray<Answer>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const problems: Array<string> = []
    for (let account = 0; account < accounts; account++) {
      const events = Chunk.toReadonlyArray(yield* Stream.runCollect(store.read(stream(accountOf(account)))))
      const versions = new Map<string, Array<number>>()
      for (const { metadata: { commandId }, version } of events) {
        versions.set(String(commandId), [...versions.get(String(commandId)) ?? [], version])
      }
      for (let number = account; number < commands; number += accounts) {
        const found = versions.get(`command ${number}`) ?? []
        versions.delete(`command ${number}`)
        const last = found[found.length - 1]
        if (found.length !== eventsOf(number)) problems.push(`command ${number} has ${found.length} events`)
        if (found.length > 0 && last !== found[0] + found.length - 1) problems.push(`command ${number} is in parts`)
        for (const answer of answers) {
          if (answer.number === number && answer.version !== last) {
            problems.push(`command ${number} was answered with version ${answer.version}, and stands at ${last}`)
          }
        }
      }
      for (const id of versions.keys()) problems.push(`nobody sent ${id}`)
    }
    return problems
  })
