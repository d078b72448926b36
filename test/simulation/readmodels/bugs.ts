import type { Bug } from "../planted.js"

/** Bugs of read models, each with the seed that finds it. */
export const bugs: ReadonlyArray<Bug & { readonly seed: number }> = [
  {
    name: "the handler writes before the transaction of the checkpoint",
    seed: 1,
    file: "internal/projection/inTransaction.ts",
    changes: [
      [
        "  const advanced = advance(site, lease, {",
        "  const first = handle(Arr.filterMap(items, ({ event }) => Either.getRight(event)) as never)\n" +
        "  const advanced = Effect.zipRight(first, advance(site, lease, {"
      ],
      ["? within(Effect.suspend(() => handle(events)), timeout)", "? Effect.void"],
      ["      return handled\n    })\n  })", "      return handled\n    })\n  }))"]
    ]
  },
  {
    name: "an advance does not check the epoch",
    seed: 2,
    file: "internal/projection/memory.ts",
    changes: [
      [
        "partition !== undefined && partition.of === lease.of && partition.epoch === lease.epoch &&",
        "partition !== undefined &&"
      ],
      ["    partition.owner === lease.owner", "    true"],
      ["if (partition.position !== lease.position) return lost(lease)", ""]
    ]
  },
  {
    name: "a poison event repeats without end",
    seed: 2,
    file: "internal/projection/failures.ts",
    changes: [["hasPassing(error) ? \"Passing\" : \"Poison\"", "true ? \"Passing\" : \"Poison\""]]
  },
  {
    name: "an outage counts as poison",
    seed: 4,
    file: "internal/projection/failures.ts",
    changes: [["passesFor(isPassing, error) || hasPassing(error) ?", "passesFor(isPassing, error) ?"]]
  },
  {
    name: "the checkpoint does not move over events of others",
    seed: 1,
    file: "internal/projection/partition.ts",
    changes: [["batches: isMoved ?", "batches: isMoved && items.length > 0 ?"]]
  },
  {
    name: "a version is promoted at another position",
    seed: 1,
    file: "internal/projection/memory.ts",
    changes: [["if (common(partitions) === undefined) return Effect.succeedNone", ""]]
  },
  {
    name: "the lease is extended at the beginning of a batch only",
    seed: 21,
    file: "internal/projection/memory.ts",
    changes: [["partition.leasedUntil = end + ttl", "partition.leasedUntil = now + ttl"]]
  },
  {
    name: "a change of the partitions takes the highest checkpoint",
    seed: 2,
    file: "internal/projection/memory.ts",
    changes: [
      ["if (common(subscription.partitions) === undefined) return Effect.succeed(false)", ""],
      [
        "const position = common(old)",
        "const position = old.map(({ position }) => position).reduce((a, b) => Position.Order(a, b) > 0 ? a : b)"
      ]
    ]
  },
  {
    name: "a change of the partitions takes the lowest checkpoint",
    seed: 2,
    file: "internal/projection/memory.ts",
    changes: [
      ["if (common(subscription.partitions) === undefined) return Effect.succeed(false)", ""],
      [
        "const position = common(old)",
        "const position = old.map(({ position }) => position).reduce((a, b) => Position.Order(a, b) < 0 ? a : b)"
      ]
    ]
  },
  {
    name: "a projection forgets which streams are parked",
    seed: 8,
    file: "internal/projection/inTransaction.ts",
    changes: [["({ stream }) => parked.has(stream))", "({ stream }) => parked.has(stream) && false)"]]
  },
  {
    name: "a subscription forgets which streams are parked",
    seed: 4,
    file: "internal/projection/outside.ts",
    changes: [["let isParked = parked.has(items[0].stream)", "let isParked = false"]]
  },
  {
    name: "the checkpoint of a subscription passes an unfinished event",
    seed: 1,
    file: "internal/projection/outside.ts",
    changes: [["const unfinished = items.findIndex((item) => !isFinished(item))", "const unfinished = -1"]]
  },
  {
    name: "a batch that fails is set aside as a whole",
    seed: 1,
    file: "internal/projection/partition.ts",
    changes: [["const half = batch.items.length >> 1", "const half = 0"]]
  }
]
