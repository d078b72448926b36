// The stored snapshots, and their proof: the state by the one that a load uses, compared with a full replay.
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as StreamId from "../../../StreamId.js"
import * as Inspection from "../../sql/inspection.js"
import { streamText } from "../options.js"
import type { Looking } from "../repository.js"
import * as SnapshotUse from "../snapshotUse.js"
import * as Page from "./html.js"

const { html, lines, link } = Page

/** Each proof reads a whole stream. */
const limit = 50

/** The snapshots of all streams, page by page. */
export const page = (
  prefix: string,
  after: StreamId.StreamId | undefined,
  looking: ReadonlyMap<string, Looking>
) =>
  Effect.gen(function*() {
    const found = yield* Inspection.snapshots({ prefix, after, limit })
    const streams = Object.values(Arr.groupBy(found, ({ stream }) => streamText(stream)))
    const all = yield* Effect.forEach(streams, (ofStream) => rows(ofStream, looking.get(ofStream[0].stream.aggregate)))
    const last = found.at(-1)
    const more = last === undefined || streams.length < limit
      ? Page.none
      : html`<p><a href="${link("/snapshots", { ...last.stream })}">more</a></p>`
    return Page.page(
      "Snapshots",
      found.length === 0 ? html`<p>There are none.</p>` : html`${table(all.flat(), "stream")}${more}`
    )
  })

type Row = readonly [snapshot: Inspection.Listed, proof: Page.Html]

/** The snapshots of one stream with their proof. */
export const rows = (
  ofStream: ReadonlyArray<Inspection.Listed>,
  looking: Looking | undefined
): Effect.Effect<ReadonlyArray<Row>> =>
  looking === undefined
    ? Effect.succeed(
      ofStream.map((snapshot) => [snapshot, html`<span class="quiet">not proved: no --module exports it</span>`])
    )
    : Effect.map(
      SnapshotUse.of(looking, ofStream),
      (uses) => uses.map(([snapshot, use]) => [snapshot, proofOf(snapshot, use)])
    )

const proofOf = ({ version }: Inspection.Listed, found: SnapshotUse.Use): Page.Html => {
  const { detail, use } = found
  switch (use) {
    case "proved":
      return html`<span class="good">version ${version}, equal to a full replay</span>`
    case "refuted":
      return html`<span class="bad">version ${version} differs from a full replay ${lines(detail)}</span>`
    case "only":
      return html`<span class="quiet">version ${version}, used by a load: ${lines(detail)}</span>`
    case "refused":
      return html`<span class="${SnapshotUse.isErased(found) ? "quiet" : "bad"}">a load replays instead: ${
        lines(detail)
      }</span>`
    case "other":
      return html`<span class="quiet">a load takes another one</span>`
    case "unknown":
      return html`<span class="bad">${lines(detail)}</span>`
  }
}

export const table = (rows: ReadonlyArray<Row>, ...first: ReadonlyArray<"stream">): Page.Html =>
  Page.table(
    [
      ...first.map((title): Page.Column => [title, 12, "grows"]),
      ["version", 4.5],
      ["schema version", 5.5],
      ["fingerprint", 19.5],
      ["bytes", 4],
      ["taken", 14],
      ["proof", 12, "grows"]
    ],
    rows.map(([{ bytes, fingerprint, schemaVersion, stream, time, version }, proof]) => [
      ...first.map(() => html`<a href="${link("/stream", { ...stream })}">${streamText(stream)}</a>`),
      version,
      schemaVersion,
      fingerprint,
      bytes,
      Option.match(DateTime.make(time), {
        onNone: () => Page.none,
        onSome: (time) => Page.time(DateTime.formatIso(time))
      }),
      proof
    ])
  )
