const encoder = new TextEncoder()

/** MurmurHash3 for x86 with 32 bits and seed 0, of the UTF-8 of a text: a whole number from 0 to 2^32 - 1. */
export const murmur3 = (text: string): number => {
  const bytes = encoder.encode(text)
  const { length } = bytes
  const blocks = length & ~3
  let hash = 0
  for (let i = 0; i < blocks; i += 4) {
    hash ^= mix(bytes[i] | bytes[i + 1] << 8 | bytes[i + 2] << 16 | bytes[i + 3] << 24)
    hash = Math.imul(rotate(hash, 13), 5) + 0xe6546b64
  }
  let rest = 0
  for (let i = length - 1; i >= blocks; i--) rest = rest << 8 | bytes[i]
  return finish(hash ^ mix(rest) ^ length)
}

const mix = (block: number): number => Math.imul(rotate(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593)

const rotate = (value: number, bits: number): number => value << bits | value >>> (32 - bits)

const finish = (hash: number): number => {
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b)
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35)
  return (hash ^ hash >>> 16) >>> 0
}
