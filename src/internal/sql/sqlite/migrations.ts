import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { InvalidOption } from "../../../InvalidOption.js"
import * as Position from "../../../Position.js"
import { applied, type Migrations, mismatch } from "../migrations.js"
import { type Group, identifier, type Names, required, schemaOf, unqualified } from "../names.js"
import * as Row from "../row.js"
import * as SqliteTables from "./tables.js"

export const all = (names: Names): Migrations["all"] => [
  { name: "create_tables", statements: SqliteTables.statements(names) },
  { name: "create_checkpoints", statements: SqliteTables.checkpoints(names) },
  { name: "create_inline", statements: SqliteTables.inline(names) },
  { name: "create_indexes_of_retention", statements: SqliteTables.retention(names) },
  { name: "create_archive", statements: SqliteTables.archive(names) }
]

export const migrations = (sql: SqlClient.SqlClient, names: Names): Migrations => {
  const schema = schemaOf(names) ?? "main"
  const catalogue = `${schema}.sqlite_master`
  const exists = sql`SELECT NULL AS found FROM ${identifier(sql, catalogue)}
WHERE type = 'table' AND name = ${unqualified(names.migrations)} COLLATE NOCASE`
  const attached = sql`SELECT NULL AS found FROM pragma_database_list WHERE name = ${schema} COLLATE NOCASE`
  // SQLite takes names that differ only in case for the same
  const tables = [
    ...[names.events, names.archive, names.snapshots, names.migrations],
    ...[names.subscriptions, names.checkpoints, names.parked, names.members, names.inline]
  ].map(unqualified)
  const otherSpelling = Effect.map(
    sql<{ readonly name: unknown }>`SELECT found.name AS name
FROM json_each(${JSON.stringify(tables)}) AS wanted
JOIN ${identifier(sql, catalogue)} AS found ON found.name = wanted.value COLLATE NOCASE AND found.name <> wanted.value
ORDER BY wanted.key LIMIT 1`,
    (rows) =>
      rows.map(({ name }) =>
        `the table ${
          Row.text(name)
        } is there, whose name differs only in upper and lower case, which SQLite takes for ` +
        "the same: write the prefix as it was written first, or choose another"
      ).at(0)
  )
  const mismatched = (group: Group) =>
    mismatch(required(names, group, { eventColumns: ["position", "time"] }), {
      columns: (table) => sql`SELECT name FROM pragma_table_info(${unqualified(table)}, ${schema})`,
      uniqueKeys: (table) =>
        sql`SELECT (
SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(list.name, ${schema}) ORDER BY seqno)
) AS columns FROM pragma_index_list(${unqualified(table)}, ${schema}) AS list WHERE list."unique" = 1`
    })
  return {
    problem: Effect.flatMap(attached, (rows) =>
      schema.toLowerCase() === "temp"
        ? Effect.succeed("tables in temp end with the connection: choose a prefix without it")
        : rows.length === 0
        ? Effect.succeed(`no database is attached as ${schema}: the part of a prefix before the dot is the name of one`)
        : otherSpelling),
    lock: Effect.void,
    schema: Effect.succeed([]),
    createMigrations: SqliteTables.migrations(names),
    applied: Effect.flatMap(exists, (rows) => rows.length === 0 ? Effect.succeed(0) : applied(sql, names)),
    all: all(names),
    // checked again: another process may have created the tables meanwhile
    mismatch: (group) =>
      Effect.flatMap(
        otherSpelling,
        (problem) => problem === undefined ? mismatched(group) : Effect.succeed(problem)
      ),
    gone: Effect.succeed([]),
    countOn: Effect.void,
    countOnAfter: (position) => {
      const { sequence, transaction } = Position.toParts(position)
      // AUTOINCREMENT continues from this table, up to 2^63
      const sequences = identifier(sql, `${schema}.sqlite_sequence`)
      const events = unqualified(names.events)
      return transaction !== "0" || BigInt(sequence) > 2n ** 62n
        ? new InvalidOption({
          option: "after",
          value: position,
          expected: "a position of this store's own, with room for others after it"
        })
        : Effect.asVoid(sql`INSERT OR REPLACE INTO ${sequences} (rowid, name, seq)
SELECT rowid, name, max(seq, CAST(${sequence} AS INTEGER)) FROM ${sequences} WHERE name = ${events}
UNION ALL
SELECT NULL, ${events}, CAST(${sequence} AS INTEGER) WHERE NOT EXISTS (SELECT 1 FROM ${sequences} WHERE name = ${events})`)
    }
  }
}
