/** Makes a value for each object at its first use, and keeps it as long as the object lives. */
export const byKey = <Key extends object, A>(make: (key: Key) => A): (key: Key) => A => {
  const made = new WeakMap<Key, A>()
  return (key) => {
    const found = made.get(key)
    if (found !== undefined) return found
    const value = make(key)
    made.set(key, value)
    return value
  }
}
