import * as Option from "effect/Option"
import * as assert from "node:assert/strict"
import type * as EventStore from "../../EventStore.js"
import * as ExpectedVersion from "../../ExpectedVersion.js"
import * as Position from "../../Position.js"
import * as StreamId from "../../StreamId.js"
import { idsOf, isWanted, settles, walk } from "./feedCases.js"
import { type Case, event, failureOf, readAll, withFresh } from "./fresh.js"

/** The cases of the filter by tenant. */
export const cases: ReadonlyArray<Case<EventStore.EventStore>> = [
  withFresh("pages of a tenant give the events that have it in their metadata, and no others", function*(fresh) {
    const { store, stream } = fresh
    const before = yield* store.head
    const { aggregate } = stream("a")
    // each is the tenant of some events, and none is another one for any store
    const texts = [
      "acme",
      "Acme",
      "acme ",
      "1",
      "null",
      "__proto__",
      "'; --",
      "%",
      "\"",
      "\\",
      "\\u0061",
      "é",
      "e\u0301"
    ]
    const tenants = [...texts, "😀", "x".repeat(255)].map((tenant) =>
      tenant.length === 255 ? tenant : `${tenant}${aggregate}`
    )
    const others: ReadonlyArray<unknown> = [undefined, null, 1, true, {}, ["acme"], [tenants[0]], {
      tenant: tenants[0]
    }]
    const appended: Array<{ readonly id: string; readonly of: unknown; readonly stream: StreamId.StreamId }> = []
    let position: Option.Option<Position.Position> = Option.none()
    for (const [n, tenant] of [...tenants, ...others, ...tenants, "x".repeat(3_000)].entries()) {
      const of = stream(`s${n % 4}`)
      const metadata = n % 3 === 0 ? { a: "\u0000\\u0000\uD800", tenant, z: { tenant: tenants[n % 5] } } : { tenant }
      const events = [{ ...event(n), metadata: tenant === undefined ? {} : metadata }]
      position = (yield* store.append(of, events, { expectedVersion: ExpectedVersion.any })).position
      appended.push({ id: events[0].id, of: tenant, stream: of })
    }
    yield* settles(store, position)
    const filters: ReadonlyArray<EventStore.FeedFilter> = [
      {},
      { aggregates: [aggregate] },
      { aggregates: ["absent"] },
      { types: ["Happened"], aggregates: [aggregate] },
      { excludedTypes: [{ aggregate, types: ["absent"] }] },
      { excludedTypes: [{ aggregate, types: ["Happened"] }] },
      { partition: { index: 0, of: 2 } }
    ]
    for (const filter of filters) {
      for (const tenant of tenants) {
        const wanted = appended.filter((event) =>
          event.of === tenant && isWanted(filter, { ...event, type: "Happened" }) &&
          (filter.partition === undefined || StreamId.partition(event.stream, 2) === 0)
        )
        for (const limit of [1, 1_000]) {
          const { events, settled } = yield* walk(store, { ...filter, tenant, after: before, limit })
          assert.deepEqual(idsOf(events), idsOf(wanted))
          assert.ok(Position.Order(settled, Option.getOrThrow(position)) >= 0)
        }
      }
    }
    const all = yield* readAll(store.readAll({ tenant: tenants[0], after: before }))
    assert.deepEqual(idsOf(all), idsOf(appended.filter(({ of }) => of === tenants[0])))
    for (const tenant of ["", "\u0000", "a\nb", "\uD800", "x".repeat(256)]) {
      const failure = yield* failureOf(store.readPage({ tenant }))
      assert.ok(failure?._tag === "EventStoreError" && failure.reason === "InvalidInput")
    }
  })
]
