import type { LibraryBug } from "./bugs.js"

/** Bugs in the groups of appends on SQLite. */
export const inGroups: ReadonlyArray<LibraryBug> = [
  {
    name: "the results of a group are swapped",
    seed: 1,
    file: "internal/sql/grouping.ts",
    changes: [["resume(answerAt(exit, index))", "resume(answerAt(exit, group.length - 1 - index))"]]
  },
  {
    name: "after an interruption each append has the result of its neighbour",
    seed: 1,
    file: "internal/sql/grouping.ts",
    changes: [["of group.entries()) resume", "of group.filter(({ left }) => !left).entries()) resume"]]
  },
  {
    name: "the failure of a group is that of each of its appends",
    file: "internal/sql/appendGroups.ts",
    changes: [["if (isUnreachable(error)) return Effect.fail(error)", "if (true) return Effect.fail(error)"]]
  },
  {
    name: "an append that fails in a group fails all of them",
    seed: 1,
    file: "internal/sql/appendGroups.ts",
    changes: [
      [
        "Effect.orElseSucceed(executeValues(statements.append(options)), () => undefined)",
        "executeValues(statements.append(options))"
      ],
      ["if (isUnreachable(error)) return Effect.fail(error)", "if (true) return Effect.fail(error)"]
    ]
  },
  {
    name: "an append that failed in a group is acknowledged",
    file: "internal/sql/appendGroups.ts",
    changes: [["options)), () => undefined)", "options)), () => [[7, 7, 7]])"]]
  },
  {
    name: "an interrupted append stays in the queue, and is sent",
    file: "internal/sql/grouping.ts",
    changes: [
      ["    waiting.left = true\n", ""],
      ["this.waiting.delete(waiting) || sent === undefined", "sent === undefined"]
    ]
  },
  {
    name: "an append that was interrupted before its group began is sent all the same",
    seed: 1,
    file: "internal/sql/grouping.ts",
    changes: [["    waiting.left = true\n", ""]]
  },
  {
    name: "an interrupted append is acknowledged when its group ends",
    seed: 1,
    file: "internal/sql/grouping.ts",
    changes: [["return Effect.async((resume) => {", "return Effect.uninterruptible(Effect.async((resume) => {"], [
      "return Effect.suspend(() => this.leave(waiting))\n    })",
      "return Effect.suspend(() => this.leave(waiting))\n    }))"
    ]]
  },
  {
    name: "a group is in the reverse order of arrival",
    seed: 6,
    file: "internal/sql/grouping.ts",
    changes: [["of this.waiting) {", "of Array.from(this.waiting).reverse()) {"]]
  },
  {
    name: "an append that was in a failed group is tried again with new ids",
    seed: 1,
    file: "internal/sql/appendGroups.ts",
    changes: [[
      "run({ options, tries }, sendAlone(options, tries))",
      `run({ options, tries }, sendAlone({
        ...options,
        events: options.events.map((event) => ({ ...event, id: \`\${event.id} again\` }))
      }, tries))`
    ]]
  },
  {
    name: "an append that comes during a send is forgotten",
    file: "internal/sql/rounds.ts",
    changes: [["if (this.queue.size > 0) return this.fork(scheduler, done)", ""]]
  },
  {
    name: "an append that does not fit into a group is lost",
    seed: 68,
    file: "internal/sql/grouping.ts",
    changes: [[
      "if (group.length > 0 && (group.length >= most || weight > capacity)) break",
      "if (group.length > 0 && weight > capacity) { this.waiting.delete(waiting); break }"
    ]]
  },
  {
    name: "the last append of a group does not run, and has the result of the one before",
    file: "internal/sql/appendGroups.ts",
    changes: [[
      "isWanted(index)\n            ? ",
      "index > 0 && index === items.length - 1 ? executeValues(statements.append(items[0].options)) : isWanted(index)\n            ? "
    ]]
  }
]

/** Bugs in the groups of appends on PostgreSQL. */
export const inGroupsOnServer: ReadonlyArray<LibraryBug> = [
  {
    name: "the lines of the function are taken in the order of arrival",
    file: "internal/sql/postgres/groupStatement.ts",
    changes: [["for (const place of rounds.flat())", "for (const place of appends.keys())"]]
  },
  {
    name: "the appends to one stream are sent in the reverse order of arrival",
    file: "internal/sql/postgres/groupStatement.ts",
    changes: [["|| a - b)", "|| b - a)"]]
  },
  {
    name: "an append has the line of another one with the same event id",
    file: "internal/sql/postgres/groupStatement.ts",
    changes: [["number = Math.max(number, rounds.length)", "number = Math.max(number, 0)"]]
  },
  {
    name: "the failure of the function is that of each append",
    file: "internal/sql/appendGroups.ts",
    changes: [["if (isUnreachable(error)) return Effect.fail(error)", "if (true) return Effect.fail(error)"]]
  },
  {
    name: "the appends of a failed function have new ids",
    file: "internal/sql/appendGroups.ts",
    changes: [[
      "run({ options, tries }, sendAlone(options, tries))",
      `run({ options, tries }, sendAlone({
        ...options,
        events: options.events.map((event) => ({ ...event, id: \`\${event.id} again\` }))
      }, tries))`
    ]]
  }
]
