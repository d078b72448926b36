// The pages of the inspector.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Event from "../../../Event.js"
import * as Projections from "../../../Projections.js"
import type * as StreamId from "../../../StreamId.js"
import * as Diagnosis from "../../sql/diagnosis.js"
import * as Inspection from "../../sql/inspection.js"
import * as Emptied from "../emptied.js"
import * as EventRow from "../eventRow.js"
import * as Listing from "../listing.js"
import { streamText } from "../options.js"
import type { Looking } from "../repository.js"
import { type Column, type Html, html, lines, link, none, page, table, time } from "./html.js"
import * as Lag from "./lag.js"
import * as Snapshots from "./snapshots.js"
import * as Standing from "./standing.js"
import * as Timeline from "./timeline.js"

const limit = 100

/** The aggregates, and the streams of one of them. */
export const streams = (prefix: string, aggregate: string | undefined, after: string | undefined) =>
  Effect.gen(function*() {
    const names = yield* Diagnosis.aggregates({ prefix })
    const chosen = aggregate ?? names[0]
    const list = html`<p>${
      names.map((name) =>
        html`<a href="${link("/", { aggregate: name })}">${name === chosen ? html`<b>${name}</b>` : name}</a> `
      )
    }</p>`
    if (chosen === undefined) return page("Streams", html`<p>The database has no events.</p>`)
    const found = yield* Listing.streams({ prefix, aggregate: chosen, after, limit })
    const rows = found.map(({ deleted, id, version }: Listing.Listed) => [
      html`<a href="${link("/stream", { aggregate: chosen, id })}">${id}</a>`,
      html`${version} <span class="quiet">${deleted ?? ""}</span>`
    ])
    const last = found.at(-1)
    const more = last === undefined || found.length < limit
      ? none
      : html`<p><a href="${link("/", { aggregate: chosen, after: last.id })}">more</a></p>`
    return page("Streams", html`${list}${table([[chosen, 14, "grows"], ["version", 10]], rows)}${more}`)
  })

/** A stream with the state after each event, and what the event changed. `undefined` if there is no such stream. */
export const stream = (
  prefix: string,
  id: StreamId.StreamId,
  looking: Looking | undefined,
  fromVersion: number
) =>
  Effect.gen(function*() {
    const stored = yield* Inspection.snapshots({ prefix, aggregate: id.aggregate, id: id.id, limit: 1 })
    const standing = yield* Standing.of(prefix, id)
    // a snapshot whose events are lost is worth a look
    if (standing === undefined && stored.length === 0) return undefined
    const steps = yield* Timeline.steps(id, looking, {
      fromVersion,
      limit,
      snapshots: stored.map(({ version }) => version)
    })
    const events = steps.map(({ event }) => event)
    const elsewhere = yield* Emptied.among({ prefix }, events)
    const earlier = fromVersion > 1
      ? html`<a href="${link("/stream", { ...id, from: Math.max(1, fromVersion - limit) })}">earlier events</a> `
      : none
    const later = steps.length === limit
      ? html`<a href="${link("/stream", { ...id, from: fromVersion + limit })}">later events</a>`
      : none
    const columns = looking === undefined ? unfolded : [...unfolded, ...folded]
    const hint = looking === undefined
      ? html`<p class="quiet">For states, start the inspector with a --module that exports ${id.aggregate}.</p>`
      : none
    const snapshots = stored.length === 0
      ? html`<p class="quiet">The stream has no snapshot.</p>`
      : Snapshots.table(yield* Snapshots.rows(stored, looking))
    return page(
      streamText(id),
      html`${
        standing === undefined ? none : Standing.notes(standing)
      }${hint}<h2>Snapshots</h2>${snapshots}<h2>Events</h2>${
        table(
          columns,
          steps.map((step) =>
            row(step, looking !== undefined, {
              content: elsewhere(step.event).content,
              rewrite: Standing.rewriteOf(step.event, events)
            })
          )
        )
      }<p>${earlier}${later}</p>`
    )
  })

const unfolded: ReadonlyArray<Column> = [["version", 5.5], ["event", 15, "grows"]]

const folded: ReadonlyArray<Column> = [["what it changed", 15, "grows"], ["state after it", 15, "grows"]]

const row = (
  { changes, event, problem, state }: Timeline.Step,
  isFolded: boolean,
  { content, rewrite }: { readonly content: string | undefined; readonly rewrite: Html }
): ReadonlyArray<Html> => [
  html`${event.version} <span class="quiet">${content ?? ""}</span>`,
  Event.isUnreadable(event)
    ? html`<b>${event.type}</b> <span class="${
      problem?.isExpected === true || content === "removed" ? "quiet" : "bad"
    }">${lines(EventRow.problemOf(event))}</span>`
    : html`<b>${event.type}</b> <span class="quiet">${time(DateTime.formatIso(event.time))}</span>${rewrite}
<pre>${json(event.payload)}</pre><details><summary class="quiet">metadata</summary>
<pre>${json({ id: event.id, position: event.position, ...event.metadata })}</pre></details>`,
  ...!isFolded ? [] : [
    html`${problem === undefined || Event.isUnreadable(event) ? none : saying(problem)}${
      (changes ?? []).map(({ left, path, right }) => html`<pre>${path} <del>${left}</del> <ins>${right}</ins></pre>`)
    }`,
    html`<pre>${state === undefined ? "" : json(state)}</pre>`
  ]
]

const saying = ({ isExpected, message }: Timeline.Problem): Html =>
  html`<span class="${isExpected ? "quiet" : "bad"}">${lines(message)}</span>`

const json = (value: unknown): Html => lines(JSON.stringify(value, null, 1) ?? "")

/** Projections and subscriptions, with their lag in the last minutes. */
export const subscriptions = (history: Lag.History) =>
  Effect.map(Projections.status(), (all) => {
    const rows = all.map((status) => [
      html`<b>${status.name}</b> ${status.version} <span class="quiet">${
        status.active ? "active" : "not active"
      }</span>`,
      status.progress.remaining,
      Math.round(Math.max(0, ...status.partitions.map(({ lag }) => lag.millis)) / 1_000),
      chart(history.get(Lag.keyOf(status)) ?? []),
      status.parked,
      status.partitions.map(({ index, of, owner, stopped }) =>
        html`<div>${index + 1}/${of} ${
          Option.match(stopped, {
            onNone: () => Option.match(owner, { onNone: () => html`<span class="bad">no owner</span>`, onSome: owned }),
            onSome: ({ reason }) => html`<span class="bad">stopped: ${lines(reason)}</span>`
          })
        }</div>`
      )
    ])
    return page(
      "Subscriptions",
      rows.length === 0
        ? html`<p>There are none.</p>`
        : table(subscriptionColumns, rows),
      5
    )
  })

const subscriptionColumns: ReadonlyArray<Column> = [
  ["name", 10.5, "grows"],
  ["events behind", 8.5],
  ["seconds behind", 9.5],
  ["in the last minutes", 16],
  ["parked", 4.5],
  ["partitions", 22.5]
]

const owned = (owner: string): Html => html`<span class="good small">${owner}</span>`

const width = 240
const height = 40

/** A line of the events that were left, over time. */
const chart = (looks: ReadonlyArray<Lag.Look>): Html => {
  const [first] = looks
  const last = looks.at(-1)
  if (first === undefined || last === undefined) return none
  const most = Math.max(1, ...looks.map(({ remaining }) => remaining))
  const span = Math.max(1, last.time - first.time)
  const points = looks.map(({ remaining, time }) =>
    `${(width * (time - first.time) / span).toFixed(1)},${(height - (height - 2) * remaining / most - 1).toFixed(1)}`
  )
  return html`<svg width="${width}" height="${height}" role="img" aria-label="at most ${most} events behind">
<polyline fill="none" stroke="#0b5cad" stroke-width="1.5" points="${points.join(" ")}"/></svg>`
}
