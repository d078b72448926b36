// holds the write lock of an SQLite file, or all of it, until it is told to let go
import Database from "better-sqlite3"
import * as readline from "node:readline"

const [file, mode] = process.argv.slice(2)
const db = new Database(file)
if (mode === "exclusive") db.pragma("locking_mode = EXCLUSIVE")
db.exec(mode === "exclusive" ? "BEGIN EXCLUSIVE" : "BEGIN IMMEDIATE")
console.log("locked")
readline.createInterface({ input: process.stdin }).once("line", () => {
  db.exec("COMMIT")
  db.close()
  process.exit(0)
})
