// the feed for people who look for a fault: it is read to its end without keeping it
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, ExpectedVersion, Position } from "effect-eventsourcing"
import * as FeedEvents from "../../src/internal/cli/feedEvents.js"
import { event, stream } from "../fixtures/Account.js"
import { collectGarbage } from "../utils/garbage.js"

describe("the events of the feed", () => {
  it.scopedLive("are read page by page, and no page is kept", () =>
    Effect.gen(function*() {
      const store = yield* EventStore.EventStore
      for (let n = 0; n < 30; n++) {
        yield* store.append(stream("a"), [event()], { expectedVersion: ExpectedVersion.any })
      }
      const pages: Array<WeakRef<object>> = []
      const readPage: typeof store.readPage = (options) =>
        Effect.tap(store.readPage({ ...options, limit: 1 }), (page) => Effect.sync(() => pages.push(new WeakRef(page))))
      let kept = 0
      const use = () =>
        Effect.map(collectGarbage, () => {
          kept = Math.max(kept, pages.filter((page) => page.deref() !== undefined).length)
        })
      yield* Effect.provideService(
        FeedEvents.forEach({ after: Position.start }, use),
        EventStore.EventStore,
        { ...store, readPage }
      )
      assert.isAtLeast(pages.length, 30)
      assert.isAtMost(kept, 5)
    }).pipe(Effect.provide(EventStore.layerMemory)))
})
