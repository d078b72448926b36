/** Sets an entry as the newest of a map, and removes the oldest one if there are more than `capacity`. */
export const setNewest = <K, V>(entries: Map<K, V>, key: K, value: V, capacity: number): void => {
  // a map keeps the order in which its keys were added
  entries.delete(key)
  entries.set(key, value)
  if (entries.size <= capacity) return
  for (const oldest of entries.keys()) {
    entries.delete(oldest)
    return
  }
}
