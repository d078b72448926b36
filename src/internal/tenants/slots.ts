// Bounds how many tenants are open.
// Mechanism: an open tenant holds a permit until its layer is closed. A tenant that needs one closes the tenant that has
// not been in use for the longest time. If all are in use, the first that is not any more is closed.
// Cost: a look at the open tenants for each one that is opened.
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Slots<in Tenant> {
  /** Takes a place for an open tenant, until the scope closes. */
  readonly take: (tenant: Tenant) => Effect.Effect<void, never, Scope.Scope>
  /** Keeps a tenant in use, until the scope closes. */
  readonly use: (tenant: Tenant) => Effect.Effect<void, never, Scope.Scope>
}

export const make = <Tenant>(
  mostOpen: number,
  /** Closes a tenant that is not in use. */
  close: (tenant: Tenant) => Effect.Effect<void>
): Slots<Tenant> => {
  const permits = Effect.unsafeMakeSemaphore(mostOpen)
  const uses = new Map<Tenant, number>()
  const open = new Set<Tenant>()
  // the one whose last use ended first stands first
  const idle = new Set<Tenant>()
  let free = mostOpen
  let waiting = 0

  const evict = Effect.suspend(() => {
    const [first] = idle
    if (free >= waiting || idle.size === 0) return Effect.void
    idle.delete(first)
    return close(first)
  })
  const taken = Effect.suspend(() => {
    waiting++
    return Effect.ensuring(
      // the tenant may have to wait for another one to close, and nothing here may hold that up
      Effect.zipRight(Effect.forkDaemon(evict), permits.take(1)),
      Effect.sync(() => {
        waiting--
      })
    )
  })
  return {
    take: (tenant) =>
      Effect.acquireRelease(
        Effect.map(Effect.interruptible(taken), () => {
          free--
          open.add(tenant)
        }),
        () =>
          Effect.suspend(() => {
            free++
            open.delete(tenant)
            idle.delete(tenant)
            return permits.release(1)
          })
      ),
    use: (tenant) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          idle.delete(tenant)
          uses.set(tenant, (uses.get(tenant) ?? 0) + 1)
        }),
        () =>
          Effect.suspend(() => {
            const left = (uses.get(tenant) ?? 1) - 1
            if (left > 0) {
              uses.set(tenant, left)
              return Effect.void
            }
            uses.delete(tenant)
            if (open.has(tenant)) idle.add(tenant)
            return evict
          })
      )
  }
}
