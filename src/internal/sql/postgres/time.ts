// Times between PostgreSQL and this program, exact to the millisecond in the whole range of both. A number of seconds would
// be rounded in between, and a text of digits costs the server more than all other columns of an event.
import * as Row from "../row.js"

/** Selects a time as hexadecimal text of its binary format. It costs the server 0.1 microseconds a row. */
export const column = (time: string): string => `encode(timestamptz_send(${time}), 'hex')`

/** The milliseconds since 1970 of such a text: 64 bits with the microseconds since 2000. */
export const millis = (text: unknown): number => {
  const hex = Row.text(text)
  const high = Number.parseInt(hex.slice(0, 8), 16) | 0
  const low = Number.parseInt(hex.slice(8), 16)
  // 2^32 microseconds are 4,294,967 milliseconds and 296 microseconds
  return year2000 + high * 4_294_967 + Math.floor((high * 296 + low) / 1_000)
}

const year2000 = 946_684_800_000

/**
 * Turns milliseconds since 1970 into a time; without any it is the time of the statement. The days are counted apart, in
 * UTC, because a day of a time zone may have another length.
 */
export const ofMillis = (millis: string): string =>
  `coalesce((timestamp 'epoch' + make_interval(days => (${millis} / 86400000)::integer, ` +
  `secs => ${millis} % 86400000 / 1000.0)) AT TIME ZONE 'UTC', statement_timestamp())`
