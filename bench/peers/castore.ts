import { type EventStorageAdapter, EventStore, EventType, type GroupedEvent } from "@castore/core"
import { InMemoryEventStorageAdapter } from "@castore/event-storage-adapter-in-memory"
import { PostgresEventStorageAdapter } from "@castore/event-storage-adapter-postgres"
import {
  type AccountEvent,
  type AccountState,
  decide,
  deposit,
  deposited,
  eventAt,
  evolve,
  initial
} from "../fixtures.js"
import type { Peer } from "../peer.js"

interface Account {
  readonly aggregateId: string
  readonly version: number
  readonly state: AccountState
}

const types = ["Opened", "Deposited", "Withdrawn", "FeeCharged", "OwnerChanged"].map((type) =>
  new EventType<string, AccountEvent>({ type })
)

const peer = (
  options: Pick<Peer, "name" | "backend" | "close"> & {
    readonly adapter: EventStorageAdapter
    readonly push: (events: ReadonlyArray<GroupedEvent>) => Promise<unknown>
  }
): Peer => {
  const store = new EventStore({
    eventStoreId: "ACCOUNTS",
    eventTypes: types,
    reducer: (
      account: Account | undefined,
      event: { readonly aggregateId: string; readonly version: number; readonly payload: AccountEvent }
    ): Account => ({
      aggregateId: event.aggregateId,
      version: event.version,
      state: evolve(account?.state ?? initial(), event.payload)
    }),
    eventStorageAdapter: options.adapter
  })
  const ids = new Map<string, string>()
  const idOf = (stream: string) => {
    const id = ids.get(stream) ?? crypto.randomUUID()
    ids.set(stream, id)
    return id
  }
  const detail = (aggregateId: string, version: number, event: AccountEvent) => ({
    aggregateId,
    version,
    type: event._tag,
    payload: event
  })
  const append = async (stream: string, version: number, events: ReadonlyArray<AccountEvent>) => {
    if (events.length === 1) {
      await store.pushEvent(detail(idOf(stream), version + 1, events[0]))
    } else {
      await options.push(
        events.map((event, index) => store.groupEvent(detail(idOf(stream), version + index + 1, event)))
      )
    }
  }
  return {
    ...options,
    seed: async (stream, events) => {
      for (let version = 0; version < events; version += 1_000) {
        const page = Array.from({ length: Math.min(1_000, events - version) }, (_, i) => eventAt(version + i + 1))
        await append(stream, version, page)
      }
    },
    load: (stream) => store.getAggregate(idOf(stream)),
    read: (stream) => store.getEvents(idOf(stream)),
    append: (stream, version, events) => append(stream, version, Array.from({ length: events }, () => deposited)),
    command: async (stream) => {
      const { aggregate } = await store.getAggregate(idOf(stream))
      for (const event of decide(aggregate?.state ?? initial(), deposit)) {
        await store.pushEvent(
          detail(idOf(stream), (aggregate?.version ?? 0) + 1, event),
          aggregate === undefined ? {} : { prevAggregate: aggregate }
        )
      }
    }
  }
}

const push = async (events: ReadonlyArray<GroupedEvent>) => {
  const [first, ...rest] = events
  await EventStore.pushEventGroup({}, first, ...rest)
}

export const inMemory = (): Peer =>
  peer({
    name: "castore in memory",
    backend: "memory",
    adapter: new InMemoryEventStorageAdapter(),
    push,
    close: async () => {}
  })

export const onPostgres = async (connectionString: string): Promise<Peer> => {
  await PostgresEventStorageAdapter.createEventTable({ connectionString, tableName: "castore_event" })
  return peer({
    name: "castore-postgres",
    backend: "PostgreSQL",
    // with the ten connections of its driver: "max=16" in the URL stays a text there, and gives it one
    adapter: new PostgresEventStorageAdapter({ connectionString, tableName: "castore_event" }),
    push,
    // its connections cannot be closed from outside
    close: async () => {}
  })
}
